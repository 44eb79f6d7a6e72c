"""Milliseconds per float training step of the benchmark networks in Keras (graph mode), as JSON on stdout.

Optional rival of `npm run bench -- --rival`: needs a Python with tensorflow; nothing else in the project does.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)

K = tf.keras.layers


def block(x, filters, strides, relu):
    x = K.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
    x = relu()(K.BatchNormalization()(x))
    x = K.Conv2D(filters, 1, use_bias=False)(x)
    return relu()(K.BatchNormalization()(x))


def ds_cnn(channels, first_strides, blocks, block_strides):
    inputs = K.Input((49, 10, 1))
    x = K.Conv2D(channels, (10, 4), strides=first_strides, padding="same", use_bias=False)(inputs)
    x = K.ReLU()(K.BatchNormalization()(x))
    for i in range(blocks):
        x = block(x, channels, block_strides if i == 0 else 1, K.ReLU)
    return tf.keras.Model(inputs, K.Dense(10)(K.GlobalAveragePooling2D()(x)))


def mobilenet_v1(alpha, size):
    relu6 = lambda: K.ReLU(6.0)
    inputs = K.Input((size, size, 3))
    x = K.Conv2D(int(32 * alpha), 3, strides=2, padding="same", use_bias=False)(inputs)
    x = relu6()(K.BatchNormalization()(x))
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for filters, strides in plan:
        x = block(x, int(filters * alpha), strides, relu6)
    return tf.keras.Model(inputs, K.Dense(10)(K.GlobalAveragePooling2D()(x)))


NETS = {
    "ds-cnn-s": (lambda: ds_cnn(64, (2, 2), 4, 1), 100),
    "ds-cnn-l": (lambda: ds_cnn(276, (2, 1), 5, 2), 100),
    "mobilenet-v1-0.25-96": (lambda: mobilenet_v1(0.25, 96), 32),
}


def measure(build, batch):
    model = build()
    optimizer = tf.keras.optimizers.Adam(1e-3)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.standard_normal((batch, *model.input_shape[1:]), dtype=np.float32))
    y = tf.constant(rng.integers(0, 10, batch))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
        return loss

    for _ in range(5):
        step()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step().numpy()
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


result = {name: measure(*net) for name, net in NETS.items()}
print(json.dumps({"tensorflow": tf.__version__, "threads": threads, "msPerStep": result}))
