"""Makes fixtures/ with TensorFlow 2.21's converter: .tflite files, an input and what TFLite's reference kernels compute for it."""

import base64, json, os, sys
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
random = np.random.RandomState(3)
cases = {}
layers, keras = tf.keras.layers, tf.keras
f32 = lambda *shape: (random.rand(*shape).astype("f4") - 0.5)
text = lambda array: base64.b64encode(np.ascontiguousarray(array, "f4").tobytes()).decode()


def convert(name, make, mode="float", batch=1, rows=3):
    model = make(batch)
    for v in model.variables:
        if "seed" in v.path: continue
        v.assign(f32(*v.shape) + (1 if "gamma" in v.path or "variance" in v.path else 0))
    shape = model.input_shape[1:]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    x = (f32(rows, *shape) * 4).astype("f4")
    if mode != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode.startswith("int8"):
        converter.representative_dataset = lambda: ([v[None]] for v in (f32(50, *shape) * 4).astype("f4"))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if mode == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    content = converter.convert()
    with open(os.path.join(folder, name + ".tflite"), "wb") as file:
        file.write(content)
    # The reference kernels; a hybrid file's real weights are what Keras has, up to their rounding.
    y = np.concatenate([model(row[None], training=False).numpy() for row in x])
    if mode in ("float", "float16") and name != "refused":
        interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
        interpreter.allocate_tensors()
        i, o = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        results = []
        for row in x:
            interpreter.set_tensor(i, row[None])
            interpreter.invoke()
            results.append(interpreter.get_tensor(o)[0].copy())
        y = np.array(results)
    cases[name] = {"shape": list(shape), "x": text(x), "y": text(y)}


def classic(batch):
    x = a = keras.Input(batch_shape=[batch, 10, 8, 3])
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = b = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1)(x)))
    x = layers.ReLU()(layers.add([layers.Conv2D(16, 3, padding="same")(x), b]))
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.AveragePooling2D(2, strides=1, padding="valid")(x)
    x = layers.Flatten()(x)
    return keras.Model(a, layers.Dense(4, activation="softmax")(layers.Dropout(0.3)(x)))


def newer(batch):
    x = a = keras.Input(batch_shape=[batch, 6, 4, 3])
    x = layers.BatchNormalization()(x)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, activation="tanh")(x)
    x = layers.UpSampling2D((2, 3), interpolation="bilinear")(layers.Lambda(lambda v: tf.image.resize(v, [2 * v.shape[1], 2 * v.shape[2]], "nearest"))(x))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6")(x)
    x = layers.concatenate([x, layers.LeakyReLU(0.2)(y)])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(12, 1, activation="sigmoid")(gate)
    x = layers.multiply([x, gate])
    x = layers.Activation("hard_silu")(layers.Dense(5)(x))  # dense over every pixel
    return keras.Model(a, layers.GlobalAveragePooling2D()(x))


def sequence(batch):
    x = a = keras.Input(batch_shape=[batch, 17, 4])
    x = layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling1D(2)(x)
    x = layers.Conv1D(5, 3, strides=2)(x)
    return keras.Model(a, layers.Dense(3)(layers.Flatten()(x)))


def repeated(batch):
    x = a = keras.Input(batch_shape=[batch, 3, 4, 2])
    x = layers.UpSampling2D((2, 3))(layers.Conv2D(3, 1)(x))  # Keras 3 repeats rows and columns by TILE
    return keras.Model(a, layers.Conv2D(2, 3)(x))


def refused(batch):
    x = a = keras.Input(batch_shape=[batch, 6, 5])
    return keras.Model(a, layers.Dense(3)(layers.Lambda(lambda v: tf.cumsum(tf.nn.elu(v), 1))(x)[:, 2, :]))


for mode in ["float", "float16", "dynamic", "int8", "int8-float-io"]:
    convert("classic-" + mode, classic, mode)
convert("classic-open-batch", classic, batch=None)
convert("newer-float", newer)
convert("sequence-float", sequence)
convert("repeated-float", repeated)
convert("refused", refused)
with open(os.path.join(folder, "cases.json"), "w") as file:
    json.dump(cases, file, indent=1)
