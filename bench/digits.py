"""Plain Monte Carlo of a guided sampler, as a careful user would write it in Python today:

python3 bench/digits.py CASE.json numpy|torch

The case, written by digits.R: a mixture, the class in front, and steps x' = alpha x + beta s + sigma
z. Printed, comma separated: seconds per particle, and what must agree, mean and standard error of
the confidence and, if `entropy`, of the negative log-density, by determinants of the steps.
"""
import json
import os
import sys
import time

import numpy as np

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
with open(sys.argv[1]) as file:
    case = json.load(file)
if sys.argv[2] == "torch":
    import torch as xp

    xp.set_num_threads(THREADS)
    xp.set_default_dtype(xp.float64)
    xp.set_grad_enabled(False)
    xp.manual_seed(1)
    array, normal = xp.tensor, xp.randn

    def softmax(logits):
        return xp.softmax(logits, 1)

else:
    xp, rng = np, np.random.default_rng(1)
    array = np.array

    def normal(*shape):
        return rng.standard_normal(shape)

    def softmax(logits):
        r = np.exp(logits - logits.max(1, keepdims=True))
        r /= r.sum(1, keepdims=True)
        return r


log_weights, M = array(np.log(case["weights"])), array(case["means"])
cov, towards, w = array(case["cov"]), case["towards"], case["strength"]
K, d = M.shape
if case["form"] == "full":
    values, vectors = xp.linalg.eigh(cov)


def isotropic(x, a2):
    """Logits, scores of the components as far as they are needed, and minus their derivatives."""
    v, A = a2 * cov + 1 - a2, a2**0.5 * M
    logits = x @ (A.T / v) + (log_weights - 0.5 * (A * A).sum(1) / v)
    return logits, A / v, 1 / v


def diagonal(x, a2):
    P, A = 1 / (a2 * cov + 1 - a2), a2**0.5 * M
    H = P * A
    logits = x @ H.T - 0.5 * ((x * x) @ P.T)
    logits += log_weights + 0.5 * xp.log(P).sum(1) - 0.5 * (H * A).sum(1)
    return logits, H, P


def full(x, a2):
    v, A = a2 * values + 1 - a2, a2**0.5 * M
    P = (vectors / v[:, None, :]) @ vectors.swapaxes(1, 2)
    logits, s = [], []
    for k in range(K):
        centred = x - A[k]
        s.append(-centred @ P[k])
        logits.append(log_weights[k] - 0.5 * xp.log(v[k]).sum() + 0.5 * (centred * s[k]).sum(1))
    return xp.stack(logits, 1), s, P


parts = {"isotropic": isotropic, "diagonal": diagonal, "full": full}[case["form"]]


def mean_score(r, x, s, P):
    """The mean of the components' scores by weights r."""
    if case["form"] == "full":
        return sum(r[:, k : k + 1] * s[k] for k in range(K))
    if case["form"] == "diagonal":
        return r @ s - x * (r @ P)
    return r @ s - x * (P * r.sum(1)[:, None])


def derivative(r_class, r_all, x, s, P):
    """That of the guided score: the curvatures of its components and the spread of their scores."""
    r = (1 + w) * r_class - w * r_all
    s_class, s_all = mean_score(r_class, x, s, P), mean_score(r_all, x, s, P)
    if case["form"] == "full":
        each = xp.stack(s, 1)
        J = -(r @ P.reshape(K, d * d)).reshape(-1, d, d)
    elif case["form"] == "diagonal":
        each = s[None] - x[:, None] * P[None]
        J = -(r @ P)[:, :, None] * array(np.eye(d))
    else:
        each = s[None] - x[:, None] * P
        J = (-P * array(np.eye(d)))[None]
    J = J + (r[:, :, None] * each).swapaxes(1, 2) @ each
    J = J - (1 + w) * s_class[:, :, None] * s_class[:, None]
    return J + w * s_all[:, :, None] * s_all[:, None]


def run(n):
    """Confidence and negative log-density of n particles."""
    x = normal(n, d)
    lost = 0.5 * (x * x).sum(1) + 0.5 * d * np.log(2 * np.pi)
    for alpha, beta, sigma, a2 in case["steps"]:
        logits, s, P = parts(x, a2)
        r_all = softmax(logits)
        r_class = 0 * r_all
        r_class[:, :towards] = softmax(logits[:, :towards])
        if case["entropy"]:
            J = beta * derivative(r_class, r_all, x, s, P) + alpha * array(np.eye(d))
            lost = lost + xp.linalg.slogdet(J)[1]
        x = alpha * x + beta * mean_score((1 + w) * r_class - w * r_all, x, s, P)
        if sigma:
            x += sigma * normal(n, d)
    return softmax(parts(x, 1)[0])[:, :towards].sum(1), lost


n = case["n"]
run(n // 10)
seconds, rounds = 0, 0
while seconds < 1 and rounds < 20:
    start = time.perf_counter()
    confidence, lost = run(n)
    seconds, rounds = seconds + time.perf_counter() - start, rounds + 1
result = [seconds / rounds / n]
for value in (confidence, lost):
    value = np.asarray(value)
    result += [value.mean(), value.std(ddof=1) / n**0.5]
print(*map(repr, map(float, result)), sep=",")
