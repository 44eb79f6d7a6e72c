"""int8 inference with TFLite's kernels: a rival of `npm run bench -- --only inference --rivals`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from protocol import milliseconds, serve

state = {}
RESOLVERS = {
    "tflite-xnnpack": tf.lite.experimental.OpResolverType.AUTO,
    "tflite-builtin": tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def prepare(request):
    """An interpreter with its input set."""
    interpreter = tf.lite.Interpreter(
        request["file"],
        num_threads=request["threads"],
        experimental_op_resolver_type=RESOLVERS[request["kernels"]],
    )
    detail = interpreter.get_input_details()[0]
    shape = [request["batch"], *detail["shape"][1:]]
    interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    codes = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)
    interpreter.set_tensor(detail["index"], codes)
    interpreter.invoke()
    output = interpreter.get_output_details()[0]
    rows = interpreter.get_tensor(output["index"]).shape[0]
    if rows != request["batch"]:
        raise ValueError(f"it gave {rows} rows for {request['batch']}")
    state[request["kernels"]] = interpreter
    return {"version": tf.__version__}


def run(request):
    """Milliseconds of one call for the whole batch; input and output are not copied."""
    invoke = state[request["kernels"]].invoke
    invoke()
    return milliseconds(invoke, request["repeat"])


serve({"prepare": prepare, "run": run})
