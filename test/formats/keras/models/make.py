# Makes the files of this folder. Keras 3 with TensorFlow; see README.md.
import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras import layers as L

here = os.path.dirname(os.path.abspath(__file__))
expected = {}


def probe(shape, rows=2):
    size = rows * int(np.prod(shape))
    return (2 * ((np.arange(size, dtype=np.int64) * 7919) % 10007) / 10006 - 1).astype("float32").reshape((rows, *shape))


def save(model, name):
    rng = np.random.default_rng(7)
    values = []
    for weight in model.weights:
        shape = weight.shape
        positive = "gamma" in weight.path or "variance" in weight.path
        scale = 1.0 if len(shape) < 2 else (2.0 / np.prod(shape[:-1])) ** 0.5
        value = rng.normal(size=shape) * (0.3 if len(shape) < 2 else scale)
        values.append((0.6 + rng.random(shape)) if positive else value)
    for weight, value in zip(model.weights, values):
        if weight.dtype == "float32" and "normalization/count" not in weight.path:
            weight.assign(np.asarray(value, "float32"))
    x = probe(model.input_shape[1:])
    y = model.predict(x, verbose=0)
    expected[name] = {"shape": list(y.shape), "output": [float(f"{v:.9g}") for v in y.flatten()]}
    model.save(f"{here}/{name}.keras")
    model.save(f"{here}/{name}.h5")


keras.backend.clear_session()
save(
    keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            L.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu6"),
            L.BatchNormalization(scale=False, epsilon=0.01),
            L.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="hard_silu"),
            L.DepthwiseConv2D(3, padding="same", depth_multiplier=1, use_bias=False),
            L.BatchNormalization(center=False),
            L.LeakyReLU(negative_slope=0.1),
            L.Conv2DTranspose(5, 3, strides=2, padding="valid"),
            L.ReLU(max_value=6),
            L.UpSampling2D((1, 2), interpolation="bilinear"),
            L.ZeroPadding2D(((1, 0), (2, 1))),
            L.Conv2D(4, 3, dilation_rate=(2, 1), activation="tanh"),
            L.ReLU(negative_slope=0.3),
            L.MaxPooling2D(2),
            L.AveragePooling2D((2, 3), strides=1, padding="same"),
            L.Dropout(0.25),
            L.Flatten(),
            L.Dense(6, activation="sigmoid"),
            L.Reshape((2, -1)),
            L.Flatten(),
            L.Dense(4, activation="softmax"),
        ]
    ),
    "sequential",
)

keras.backend.clear_session()
inner = keras.Sequential([keras.Input((8, 8, 4)), L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), L.ReLU()])
inside = keras.Input((8, 8, 4))
block = keras.Model(inside, L.Add()([L.Conv2D(4, 1)(inside), L.BatchNormalization()(inside), inside]))
outer_in = keras.Input((8, 8, 4))
outer = keras.Model(outer_in, L.Activation("silu")(block(inner(outer_in))))
x = start = keras.Input((10, 10, 3))
x = L.Rescaling(1 / 2.0, offset=-0.25)(x)
x = L.Conv2D(4, 3, activation="linear")(x)
x = outer(x)
x = L.Conv2D(8, 3, groups=4, padding="same", activation="leaky_relu")(x)
gate = L.GlobalAveragePooling2D(keepdims=True)(x)
gate = L.Dense(3, activation="relu")(gate)
gate = L.Dense(8, activation="sigmoid")(gate)
x = L.Multiply()([x, gate])
y = L.Dense(5, activation="tanh")(x)
x = L.Concatenate()([x, y])
x = L.UpSampling2D(2)(x)
x = L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling2D()(x)])
x = L.Dense(5)(x)
save(keras.Model(start, L.Softmax()(x)), "functional")

keras.backend.clear_session()
x = start = keras.Input((24, 3))
x = L.Normalization(mean=[0.5, 0.0, -0.5], variance=[1.0, 0.25, 4.0])(x)
x = L.Conv1D(4, 3, activation="relu")(x)
x = L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="hard_swish")(x)
x = L.SeparableConv1D(6, 3, strides=2, padding="same", depth_multiplier=2)(x)
x = L.DepthwiseConv1D(3, padding="same", depth_multiplier=2)(x)
x = L.BatchNormalization(axis=-1)(x)
x = L.MaxPooling1D(2)(x)
x = L.AveragePooling1D(2, strides=1, padding="same")(x)
x = L.Dense(5, activation="relu")(x)
x = L.Concatenate()([L.GlobalMaxPooling1D()(x), L.Flatten()(L.GlobalAveragePooling1D(keepdims=True)(x))])
save(keras.Model(start, L.Dense(3)(x)), "sequence")

with open(f"{here}/expected.json", "w") as file:
    json.dump(expected, file, indent=2)
    file.write("\n")
