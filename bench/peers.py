"""The cases as a careful user would write them in Python today, vectorised over particles:

python3 bench/peers.py speed CASE STEPS numpy|torch|sklearn|scipy   (the first STEPS steps)
python3 bench/peers.py check CASE N numpy|torch|sklearn|scipy       (all steps of N particles)

cases.R says what the cases are, and what is printed.
"""
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
from threadpoolctl import threadpool_info

CASES = {
    "S1": (100000, 500, 3, 2, "isotropic", 1),
    "S2": (100000, 200, 8, 16, "diagonal", 2),
    "S3": (20000, 200, 10, 64, "full", 2),
    "S4": (20000, 500, 3, 256, "isotropic", 1),
    "S5": (10000, 1, 1000, 2, "kernel", 0),
    "E1": (2000, 400, 0, 0, "", 0),
}
FIELDS = ("n", "steps", "K", "d", "cov", "towards")


def means(K, d):
    k, j = np.arange(K)[:, None], np.arange(d)[None]
    return 2 * np.sin(1.3 * k + 0.7 * j + 0.5 * k * j)


def parameters(case):
    K, d = case.K, case.d
    if case.cov == "kernel":
        return np.full(K, 1 / K), means(K, 3)[:, 1:].copy(), 0.05
    weights = 1 + 0.3 * (np.arange(K) % 3)
    if case.cov == "isotropic":
        cov = 0.25
    elif case.cov == "diagonal":
        cov = 0.1 + 0.4 * ((np.arange(K)[:, None] * 7 + np.arange(d)[None] * 3) % 5) / 4
    else:
        i, j = np.arange(d)[:, None], np.arange(d)[None]
        A = [np.sin(1 + k + 3.1 * i + 1.7 * j * j + 0.3 * i * j * (k + 1)) for k in range(K)]
        cov = np.array([0.5 * a @ a.T / d + 0.2 * np.eye(d) for a in A])
    return weights / weights.sum(), means(K, d), cov


def noise_levels(steps):
    beta = (1e-4 + (0.02 - 1e-4) * np.arange(steps) / (steps - 1)) * 1000 / steps
    beta = np.minimum(beta, 0.99)
    return beta, np.cumprod(1 - beta)


def points_of(n, d):
    return 2 * np.sin(np.arange(1, n + 1)[:, None] * np.sqrt(np.arange(1, d + 1) + 1)[None])


def with_numpy(case, weights, M, cov):
    log_weights, towards, w = np.log(weights), case.towards, 1.0
    rng = np.random.default_rng(1)
    if case.cov == "full":
        values, vectors = np.linalg.eigh(cov)

    def guided_weights(logits):
        rho = np.exp(logits - logits.max(1, keepdims=True))
        rho *= -w / rho.sum(1, keepdims=True)
        if towards == 1:
            rho[:, 0] += 1 + w
        else:
            of_class = logits[:, :towards]
            of_class = np.exp(of_class - of_class.max(1, keepdims=True))
            rho[:, :towards] += of_class * ((1 + w) / of_class.sum(1, keepdims=True))
        return rho

    def isotropic(x, a2):
        v, A = a2 * cov + 1 - a2, np.sqrt(a2) * M
        logits = x @ (A.T / v)
        logits += log_weights - 0.5 * (A**2).sum(1) / v
        return (guided_weights(logits) @ A - x) / v

    def diagonal(x, a2):
        P, A = 1 / (a2 * cov + 1 - a2), np.sqrt(a2) * M
        H = P * A
        logits = x @ H.T
        logits -= 0.5 * ((x * x) @ P.T)
        logits += log_weights + 0.5 * np.log(P).sum(1) - 0.5 * (H * A).sum(1)
        rho = guided_weights(logits)
        return rho @ H - x * (rho @ P)

    def full(x, a2):
        A = np.sqrt(a2) * M
        logits, y = np.empty((len(x), case.K)), []
        for k in range(case.K):
            v = a2 * values[k] + 1 - a2
            P = (vectors[k] / v) @ vectors[k].T
            centred = x - A[k]
            y.append(centred @ P)
            square = np.einsum("ij,ij->i", centred, y[k])
            logits[:, k] = log_weights[k] - 0.5 * np.log(v).sum() - 0.5 * square
        rho = guided_weights(logits)
        s = 0
        for k in range(case.K):
            s = s - rho[:, k : k + 1] * y[k]
        return s

    def kernel(x, _):
        logits = x @ (M.T / cov)
        logits += log_weights - 0.5 * (M**2).sum(1) / cov
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=logits)
        return ((logits @ M) / logits.sum(1, keepdims=True) - x) / cov

    score = {"isotropic": isotropic, "diagonal": diagonal, "full": full, "kernel": kernel}
    return score[case.cov], lambda n, d: rng.standard_normal((n, d)), np.asarray


def with_torch(case, weights, M, cov):
    import torch

    torch.set_num_threads(int(THREADS))
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    towards, w = case.towards, 1.0
    log_weights, M = torch.tensor(np.log(weights)), torch.tensor(M)
    if case.cov in ("diagonal", "full"):
        cov = torch.tensor(cov)
    if case.cov == "full":
        values, vectors = torch.linalg.eigh(cov)

    def guided_weights(logits):
        rho = torch.softmax(logits, 1) * -w
        rho[:, :towards] += (1 + w) * torch.softmax(logits[:, :towards], 1)
        return rho

    def isotropic(x, a2):
        v, A = a2 * cov + 1 - a2, np.sqrt(a2) * M
        logits = torch.addmm(log_weights - 0.5 * (A**2).sum(1) / v, x, A.T / v)
        return (guided_weights(logits) @ A - x) / v

    def diagonal(x, a2):
        P, A = 1 / (a2 * cov + 1 - a2), np.sqrt(a2) * M
        H = P * A
        constant = log_weights + 0.5 * torch.log(P).sum(1) - 0.5 * (H * A).sum(1)
        logits = torch.addmm(constant, x, H.T) - 0.5 * ((x * x) @ P.T)
        rho = guided_weights(logits)
        return rho @ H - x * (rho @ P)

    def full(x, a2):
        v, A = a2 * values + 1 - a2, np.sqrt(a2) * M
        P = (vectors / v[:, None, :]) @ vectors.transpose(1, 2)
        centred = x[None] - A[:, None, :]
        y = torch.bmm(centred, P)
        logits = (log_weights - 0.5 * torch.log(v).sum(1))[None] - 0.5 * (centred * y).sum(2).T
        return -torch.einsum("nk,knd->nd", guided_weights(logits), y)

    def kernel(x, _):
        logits = torch.addmm(log_weights - 0.5 * (M**2).sum(1) / cov, x, M.T / cov)
        return (torch.softmax(logits, 1) @ M - x) / cov

    score = {"isotropic": isotropic, "diagonal": diagonal, "full": full, "kernel": kernel}
    return score[case.cov], torch.randn, torch.tensor


def ancestral(case, score, normal, x, steps):
    """The first `steps` steps from noise to data; for a kernel density, its score `steps` times."""
    if case.cov == "kernel":
        for _ in range(steps):
            s = score(x, 0)
        return s
    beta, a2 = noise_levels(case.steps)
    for t in range(case.steps - 1, case.steps - 1 - steps, -1):
        x = (x + beta[t] * score(x, a2[t])) / np.sqrt(1 - beta[t])
        if t:
            x += np.sqrt(beta[t] * (1 - a2[t - 1]) / (1 - a2[t])) * normal(*x.shape)
    return x


def with_sklearn(case, weights, M, cov):
    """The log-density of points, by a mixture whose parameters are set, not fitted."""
    from sklearn.mixture import GaussianMixture
    from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

    kind = {"isotropic": "spherical", "diagonal": "diag", "full": "full"}[case.cov]
    mixture = GaussianMixture(case.K, covariance_type=kind)
    mixture.weights_, mixture.means_ = weights, M
    mixture.covariances_ = np.full(case.K, cov) if kind == "spherical" else cov
    mixture.precisions_cholesky_ = _compute_precision_cholesky(mixture.covariances_, kind)
    return mixture.score_samples


def diffuse_banded(case, steps):
    """The Fokker-Planck equation by central differences and a banded solver."""
    from scipy.linalg import solve_banded

    n, dt, D = case.n, 1e-3, 0.5
    h = 20 / n
    x = -10 + h * np.arange(n)
    p = np.exp(-0.5 * ((x - 3) / 0.5) ** 2) / 0.5 / np.sqrt(2 * np.pi)
    for step in range(1, steps + 1):
        theta = 1 + step / 2000
        up = dt / 2 * (D / h**2 + theta * x[1:] / (2 * h))
        low = dt / 2 * (D / h**2 - theta * x[:-1] / (2 * h))
        middle = -dt * D / h**2
        band = np.zeros((3, n))
        band[0, 1:], band[1], band[2, :-1] = -up, 1 - middle, -low
        right = p * (1 + middle)
        right[:-1] += up * p[1:]
        right[1:] += low * p[:-1]
        p = solve_banded((1, 1), band, right, check_finite=False)
    return p


def emit(metric, value, unit=""):
    print(NAME, WHO, BLAS, THREADS, "", "", "", metric, repr(float(value)), unit, sep=",")


def timed(call, calls, particle_steps):
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    emit("cpu", cpu / calls / particle_steps * 1e9, "ns")
    emit("wall", wall / calls / particle_steps * 1e9, "ns")


def check(x):
    x = np.asarray(x)
    if NAME[0] in "DE" or NAME == "S5":
        emit("value", x.mean())
        return emit("value^2", (x**2).mean())
    for name, y in (("x1", x[:, 0]), ("x2", x[:, 1]), ("x1^2", x[:, 0]**2), ("x2^2", x[:, 1]**2)):
        emit(name, y.mean())
        emit(name + " se", y.std(ddof=1) / np.sqrt(len(y)))


WHAT, NAME, NUMBER, WHO = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
THREADS = os.environ.get("OMP_NUM_THREADS", "1")
case = SimpleNamespace(**dict(zip(FIELDS, CASES[NAME.replace("D", "S")])))
case.n //= int(os.environ.get("BENCH_SHRINK", "1"))
if WHAT == "check":
    case.n = NUMBER
if WHO == "scipy":
    diffuse_banded(case, 1)
elif WHO == "sklearn":
    log_density = with_sklearn(case, *parameters(case))
    x = points_of(case.n, case.d)
else:
    score, normal, tensor = {"numpy": with_numpy, "torch": with_torch}[WHO](
        case, *parameters(case)
    )
    x = tensor(points_of(case.n, case.d)) if NAME == "S5" else normal(case.n, case.d)
libraries = [library["internal_api"] for library in threadpool_info()]
BLAS = "openblas" if "openblas" in libraries else "reference"
if WHO == "scipy":
    if WHAT == "check":
        check(diffuse_banded(case, case.steps))
    else:
        timed(lambda: diffuse_banded(case, NUMBER), 1, case.n * NUMBER)
elif WHO == "sklearn":
    log_density(x[:100])
    if WHAT == "check":
        check(log_density(x))
    else:
        timed(lambda: log_density(x), NUMBER, case.n)
elif WHAT == "check":
    check(ancestral(case, score, normal, x, case.steps))
else:
    ancestral(case, score, normal, x, 1)
    timed(lambda: ancestral(case, score, normal, x, NUMBER), 1, case.n * NUMBER)
