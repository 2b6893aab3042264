#!/usr/bin/env python3
"""Writes tests/testthat/graded-values.csv: Gaussian mixtures whose variances, noises and rows of H
differ by up to 1e18, and what gaussmix(), dgaussmix(), score(), condition(), marginal(),
impute() and observation() must make of them, by textbook formulas in 80-digit arithmetic (mpmath).
Numbers are hexadecimal doubles, so that they are read back exactly."""
import csv
import os
import random

from mpmath import mp, mpf, matrix, inverse, det, log, exp, pi, sqrt, qr, eigsy

mp.dps = 80
random.seed(12)
rows = []


def put(case, name, M):
    """Column after column, as R has it."""
    if not isinstance(M, matrix):
        M = matrix(M if isinstance(M, list) else [M])
    for j in range(M.cols):
        for i in range(M.rows):
            rows.append([case, name, M.rows, M.cols, float(M[i, j]).hex()])


def doubles(M):
    """The same in doubles, from which everything is computed."""
    return M.apply(lambda x: mpf(float(x)))


def graded(n, condition, low, high):
    """sd_i sd_j R_ij, correlations about .5 and R of about that condition."""
    sd = [mpf(10) ** random.uniform(low, high) for _ in range(n)]
    if n == 1:
        return doubles(matrix([[sd[0] ** 2]]))
    Q = qr(matrix(n, n).apply(lambda _: mpf(random.gauss(0, 1))))[0]
    value = [mpf(10) ** (-log(condition, 10) * i / (n - 1)) for i in range(n)]
    R = Q * mp.diag(value) * Q.T + mpf(.5) / condition * matrix(n, n).apply(lambda _: mpf(1))
    own = [sqrt(R[i, i]) for i in range(n)]
    S = matrix(n, n)
    for i in range(n):
        for j in range(i + 1):
            S[i, j] = S[j, i] = float(sd[i] * sd[j] * R[i, j] / own[i] / own[j])
    return S


def log_normal(x, S):
    return -(len(x) * log(2 * pi) + log(det(S)) + (x.T * inverse(S) * x)[0]) / 2


def posterior(w, means, covs, H, R, y):
    logs, mu, P = [], [], []
    for k in range(len(w)):
        S = H * covs[k] * H.T + R
        K = covs[k] * H.T * inverse(S)
        rest = y - H * means[k]
        logs.append(log(w[k]) + log_normal(rest, S))
        mu.append(means[k] + K * rest)
        P.append(covs[k] - K * H * covs[k])
    top = max(logs)
    e = [exp(l - top) for l in logs]
    return [x / sum(e) for x in e], mu, P, top + log(sum(e))


def law(w, means, covs, x, a, b2):
    """Log-density and score of a x_0 + b z."""
    n = len(x)
    S = [a ** 2 * C + b2 * mp.eye(n) for C in covs]
    logs = [log(w[k]) + log_normal(x - a * means[k], S[k]) for k in range(len(w))]
    top = max(logs)
    e = [exp(l - top) for l in logs]
    s = matrix(n, 1)
    for k in range(len(w)):
        s -= e[k] / sum(e) * (inverse(S[k]) * (x - a * means[k]))
    return top + log(sum(e)), s


def random_rows(m, d, sd):
    """Rows that weigh all variables by about their own sd, each times a factor of its own."""
    H = matrix(m, d)
    for i in range(m):
        factor = mpf(10) ** random.uniform(-9, 9)
        for j in range(d):
            H[i, j] = factor * random.gauss(0, 1) / sd[j]
    return doubles(H)


case = 0
for d in (2, 3, 5):
    for common in (False, True):
        for condition in (mpf(10), mpf(10) ** 3, mpf(5) * 10 ** 4):
            case += 1
            first = graded(d, condition, -9, 9)
            sd = [sqrt(first[i, i]) for i in range(d)]
            if common:
                covs = [first, first]
            else: # the same units
                other = graded(d, condition, 0, 0)
                covs = [first, doubles(mp.diag(sd) * other * mp.diag(sd))]
                covs[1] = doubles((covs[1] + covs[1].T) / 2)
            w = [mpf(.25), mpf(.75)]
            means = [doubles(matrix([s * random.gauss(0, 1) for s in sd])) for _ in w]
            x = doubles(matrix([s * random.gauss(0, 1) for s in sd]))
            put(case, "cov1", covs[0])
            put(case, "cov2", covs[1])
            put(case, "mean1", means[0])
            put(case, "mean2", means[1])
            put(case, "x", x)
            logp, s = law(w, means, covs, x, mpf(1), mpf(0))
            put(case, "logp", logp)
            put(case, "score", s)
            t = mpf(2) ** -20
            a, b2 = exp(-t), -mp.expm1(-2 * t)
            noised = doubles(a * x + sqrt(b2) * matrix([mpf(random.gauss(0, 1)) for _ in range(d)]))
            put(case, "noised", noised)
            put(case, "noised_score", law(w, means, covs, noised, a, b2)[1])

            m = random.randint(1, d)
            H = random_rows(m, d, sd)
            size = [sqrt((H * first * H.T)[i, i]) for i in range(m)]
            # from hardly observed to hardly any noise
            noise = [float((size[i] * mpf(10) ** random.uniform(-6, 9)) ** 2) for i in range(m)]
            R = mp.diag([mpf(v) for v in noise])
            if case % 2 and m > 1: # correlated
                C = graded(m, mpf(10), 0, 0)
                R = doubles(mp.diag([sqrt(v) for v in noise]) * C * mp.diag([sqrt(v) for v in noise]))
                R = doubles((R + R.T) / 2)
            y = doubles(H * x + matrix([sqrt(R[i, i]) * random.gauss(0, 1) for i in range(m)]))
            q, mu, P, evidence = posterior(w, means, covs, H, R, y)
            put(case, "H", H)
            put(case, "R", R)
            put(case, "y", y)
            put(case, "weights", q)
            put(case, "means1", mu[0])
            put(case, "means2", mu[1])
            put(case, "covs1", P[0])
            put(case, "covs2", P[1])
            put(case, "evidence", evidence)
            plus = H.T * inverse(H * H.T)
            put(case, "plus_y", plus * y)
            put(case, "plus_R", plus * R * plus.T)

            # the first variables observed exactly
            m = random.randint(1, d - 1)
            H = matrix(m, d)
            for i in range(m):
                H[i, i] = 1
            q, mu, P, _ = posterior(w, means, covs, H, matrix(m, m), x[:m, 0])
            whole = matrix(d, 1)
            for k in range(2):
                whole += q[k] * mu[k]
            spread = []
            for i in range(m, d):
                v = sum(q[k] * (P[k][i, i] + (mu[k][i] - whole[i]) ** 2) for k in range(2))
                spread.append(sqrt(v))
            put(case, "observed", m)
            put(case, "imputed_mean", [whole[i] for i in range(m, d)])
            put(case, "imputed_sd", spread)

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "..", "tests", "testthat", "graded-values.csv"), "w") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["case", "name", "rows", "columns", "value"])
    writer.writerows(rows)
