"""Makes fixtures/ with TensorFlow 2.21: small frozen graphs, an input and what TensorFlow computes for it."""

import base64, json, os, sys
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

tf1 = tf.compat.v1
folder = sys.argv[1]
random = np.random.RandomState(7)
cases = {}
f32 = lambda *shape: (random.rand(*shape).astype("f4") - 0.5)
text = lambda array: base64.b64encode(np.ascontiguousarray(array, "f4").tobytes()).decode()


def save(name, graph_def, feed, shape, fetch, rows=3):
    x = (f32(rows, *shape) * 4).astype("f4")
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf1.placeholder(tf.float32, [None, *shape])
        (output,) = tf1.import_graph_def(graph_def, {feed: placeholder}, [fetch])
        with tf1.Session() as session:
            y = session.run(output, {placeholder: x})
    with open(os.path.join(folder, name + ".pb"), "wb") as file:
        file.write(graph_def.SerializeToString(deterministic=True))
    cases[name] = {"shape": list(shape), "x": text(x), "y": text(y)}


def build(name, shape, make, rows=3):
    graph = tf.Graph()
    with graph.as_default():
        x = tf1.placeholder(tf.float32, [None, *shape], name="input")
        output = make(x)
    save(name, graph.as_graph_def(), "input:0", shape, output.name, rows)


def norm(x, version, eps=1e-3):
    c = x.shape[-1]
    op = getattr(tf.raw_ops, "FusedBatchNorm" + version)
    return op(x=x, scale=f32(c) + 1, offset=f32(c), mean=f32(c), variance=f32(c) + 1, epsilon=eps, is_training=False)[0]


def classic(x):
    x = tf.nn.bias_add(tf.nn.conv2d(x, f32(3, 2, 3, 8), [1, 2, 1, 1], "SAME"), f32(8))
    x = tf.nn.relu(norm(x, ""))
    x = tf.nn.bias_add(tf.nn.depthwise_conv2d(x, f32(3, 3, 8, 2), [1, 1, 1, 1], "SAME"), f32(16))
    x = tf.nn.relu6(norm(x, "V2"))
    x = tf.nn.relu(norm(tf.nn.conv2d(x, f32(1, 1, 16, 6), 1, "VALID"), "V3"))
    x = tf.squeeze(tf.nn.avg_pool2d(x, [5, 7], [1, 1], "VALID"), [1, 2])
    return tf.nn.softmax(tf.nn.bias_add(tf.matmul(x, f32(6, 4)), f32(4)))


def spelled(x):
    for gamma, beta in [(True, True), (False, True), (True, False)]:
        x = tf.matmul(x, f32(x.shape[-1], 6)) + f32(6)
        mean, variance, offset, scale = [tf.constant(v) for v in (f32(6), f32(6) + 1, f32(6), f32(6) + 1)]
        x = tf.nn.batch_normalization(x, mean, variance, offset if beta else None, scale if gamma else None, 1e-3)
        x = tf.nn.relu(x)
    return x


def various(x):
    x = (x - 0.25) / np.float32(0.5) * f32(3)
    x = tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]])
    x = f32(1, 1, 1, 5) + tf.nn.conv2d(x, f32(3, 3, 3, 5), 1, "VALID")
    y = tf.nn.max_pool2d(tf.nn.conv2d(x, f32(3, 3, 5, 5), 1, [[0, 0], [1, 1], [2, 0], [0, 0]]), 3, 1, "SAME")
    x = tf1.add(x, tf.nn.leaky_relu(y, 0.1))
    x = tf.concat([tf.sigmoid(x), tf.tanh(x) * x], -1)
    x = 1.0 - x
    gate = tf.reduce_mean(x, [1, 2], keepdims=True)
    x = tf.reduce_mean(x * gate, [-3, -2])
    x = tf.squeeze(tf.expand_dims(x, 1), 1)
    x = tf.reshape(tf.reshape(x, [-1, 5, 2]), [-1, 10])
    return tf.matmul(x, f32(3, 10), transpose_b=True)


def dilated(x):
    x = tf.nn.conv2d(x, f32(3, 3, 2, 4), 1, "SAME", dilations=2)
    def by_blocks(x, conv, block, paddings, crops):
        return tf.batch_to_space(conv(tf.space_to_batch(x, block, paddings)), block, crops)
    # 12 x 9, rate 2: SAME wants 2 on every side; the width is filled up to 14 and cropped again.
    x = by_blocks(x, lambda v: tf.nn.conv2d(v, f32(3, 3, 4, 5), 1, "VALID"), [2, 2], [[2, 2], [2, 3]], [[0, 0], [0, 1]])
    x = tf.nn.relu(tf.nn.bias_add(x, f32(5)))
    x = by_blocks(x, lambda v: tf.nn.depthwise_conv2d(v, f32(2, 2, 5, 1), [1, 1, 1, 1], "VALID"), [3, 3], [[0, 0], [0, 0]], [[0, 0], [0, 0]])
    return tf.reshape(x, tf.stack([tf.shape(x)[0], 9 * 6 * 5]))


def upsampled(x):
    x = tf.image.resize(x, [8, 9], "nearest")
    x = tf.image.resize(x, [8, 18], "bilinear")
    n = tf.shape(x)[0]
    x = tf.nn.conv2d_transpose(x, f32(3, 2, 4, 2), [3, 16, 18, 4], [2, 1], "SAME") + f32(4)
    x = tf.nn.conv2d_transpose(x, f32(2, 3, 3, 4), tf.stack([n, 17, 37, 3]), [1, 2], "VALID")
    y = tf.nn.softmax(tf.reshape(x, [-1, 17 * 37 * 3]))
    return tf.reshape(y, tf.shape(x))  # as tf.slim ends


def keras():
    layers = tf.keras.layers
    model = tf.keras.Sequential([
        tf.keras.Input([10, 8, 3]),
        layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0),
        layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.ReLU(),
        layers.MaxPooling2D(2), layers.Flatten(), layers.Dropout(0.5), layers.Dense(4, activation="softmax"),
    ])
    for v in model.variables:
        v.assign(f32(*v.shape) + (1 if "gamma" in v.path or "variance" in v.path else 0))
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec([None, 10, 8, 3], tf.float32))
    frozen = convert_variables_to_constants_v2(function)
    save("keras", frozen.graph.as_graph_def(), frozen.inputs[0].name, (10, 8, 3), frozen.outputs[0].name)


def audio():
    graph = tf.Graph()
    with graph.as_default():
        wav = tf1.placeholder(tf.string, [], name="wav_data")
        sound = tf.raw_ops.DecodeWav(contents=wav, desired_channels=1, desired_samples=1600)
        spectrogram = tf.raw_ops.AudioSpectrogram(input=sound.audio, window_size=640, stride=320, magnitude_squared=True)
        mfcc = tf.raw_ops.Mfcc(spectrogram=spectrogram, sample_rate=sound.sample_rate, dct_coefficient_count=10)
        x = tf.reshape(tf.reshape(mfcc, [-1, 40], name="flat"), [-1, 4, 10, 1], name="fingerprint")
        x = tf.nn.relu(tf.nn.conv2d(x, f32(2, 3, 1, 4), 1, "SAME") + f32(4))
        output = tf.nn.softmax(tf.matmul(tf.reshape(x, [-1, 160]), f32(160, 3)), name="labels_softmax")
    save("audio", graph.as_graph_def(), "fingerprint:0", (4, 10, 1), output.name)


def numbers():
    """Constants written one by one, repeated, and of other element types."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf1.placeholder(tf.float32, [None, 6], name="input")
        output = tf.nn.relu(tf.matmul(x, tf.constant(f32(6, 6), name="kernel")) + tf.constant(np.full(6, 0.25, "f4"), name="bias"))
        output = output * tf.cast(tf.constant(np.linspace(0.5, 2, 6), tf.float16, name="scale"), tf.float32)
        output = output + tf.cast(tf.constant(np.linspace(-1, 1, 6), tf.float64), tf.float32)
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        if node.name == "kernel":
            tensor = node.attr["value"].tensor
            values = np.frombuffer(tensor.tensor_content, "f4")
            tensor.tensor_content = b""
            tensor.float_val.extend(values)
        if node.name == "bias":
            node.attr["value"].tensor.tensor_content = b""
            node.attr["value"].tensor.float_val.extend([0.25])  # stands for all
    save("numbers", graph_def, "input:0", (6,), output.name)


def refused(x):
    y = tf.einsum("bhwc,cd->bhwd", x, f32(3, 3))
    y = tf.raw_ops.FusedBatchNormV3(x=tf.nn.elu(y), scale=f32(3), offset=f32(3), mean=f32(0), variance=f32(0), is_training=True).y
    return tf.nn.relu(tf.cumsum(y, 1))


build("classic", (10, 7, 3), classic)
build("spelled", (5,), spelled)
build("various", (6, 5, 3), various)
build("dilated", (12, 9, 2), dilated)
build("upsampled", (4, 3, 2), upsampled)
keras()
audio()
numbers()
build("refused", (4, 4, 3), refused)
with open(os.path.join(folder, "cases.json"), "w") as file:
    json.dump(cases, file, indent=1)
