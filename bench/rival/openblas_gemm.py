"""Matrix products of OpenBLAS through numpy, as one convolution layer needs them: a rival of `npm run bench -- --only gemm --rivals`.

Threads and kind of kernels come from OPENBLAS_NUM_THREADS and OPENBLAS_CORETYPE.
"""

import itertools

import numpy as np

from protocol import milliseconds, serve

state = {}


def describe(_):
    """Which OpenBLAS this is."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    try:
        import threadpoolctl

        core = next(pool["architecture"] for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas")
    except (ImportError, StopIteration, KeyError):
        core = "unknown"
    return {"version": f"{blas['name']} {blas['version']}", "core": core}


def operands(m, n, k):
    """Input x, kernel w, output y and room for their gradients."""
    rng = np.random.default_rng(0)
    x, w, y = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (k, n), (m, n)))
    return x, w, y, np.empty_like(x), np.empty_like(w), np.empty_like(y)


FORMS = {
    "forward": lambda x, w, y, dx, dw, out: np.matmul(x, w, out=out),
    "input": lambda x, w, y, dx, dw, out: np.matmul(y, w.T, out=dx),
    "kernel": lambda x, w, y, dx, dw, out: np.matmul(x.T, y, out=dw),
}


def prepare(request):
    """Several sets of operands, used in turn as a network's layers are."""
    state["sets"] = itertools.cycle([operands(request["m"], request["n"], request["k"]) for _ in range(request["sets"])])


def run(request):
    """Milliseconds of one product."""
    form = FORMS[request["form"]]
    form(*next(state["sets"]))
    return milliseconds(lambda: form(*next(state["sets"])), request["repeat"])


serve({"describe": describe, "prepare": prepare, "run": run})
