"""Float training steps in Keras on TensorFlow, graph mode (not XLA): a rival of `npm run bench -- --rivals`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from protocol import milliseconds, serve

K = tf.keras.layers


def build(layers, input_shape):
    """The network as a Keras model. All strided layers pad as TensorFlow's SAME does, which is what the benchmark's nets do."""
    inputs = x = K.Input(input_shape)
    for layer in layers:
        op = layer["op"]
        if op == "conv":
            x = K.Conv2D(layer["filters"], layer["kernel"], strides=layer["strides"], padding="same", use_bias=False)(x)
        elif op == "depthwise":
            x = K.DepthwiseConv2D(layer["kernel"], strides=layer["strides"], padding="same", use_bias=False)(x)
        elif op == "batchNorm":
            x = K.BatchNormalization()(x)
        elif op == "relu":
            x = K.ReLU()(x)
        elif op == "relu6":
            x = K.ReLU(6.0)(x)
        elif op == "globalAveragePool":
            x = K.GlobalAveragePooling2D()(x)
        elif op == "dense":
            x = K.Dense(layer["units"])(x)
        else:
            raise ValueError(f"no layer {op}")
    return tf.keras.Model(inputs, x)


state = {}


def prepare(request):
    """Makes network, batch and optimizer, traces the step and runs it a few times."""
    tf.config.threading.set_intra_op_parallelism_threads(request["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build(request["layers"], request["inputShape"])
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    optimizer = tf.keras.optimizers.Adam(1e-3)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.standard_normal((request["batch"], *request["inputShape"]), dtype=np.float32))
    y = tf.constant(np.arange(request["batch"]) % request["classes"])

    @tf.function(jit_compile=False)
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
        return loss

    for _ in range(3):
        step().numpy()
    state["step"] = lambda: step().numpy()
    return {"version": tf.__version__, "trainable": trainable}


serve({"prepare": prepare, "run": lambda request: milliseconds(state["step"])})
