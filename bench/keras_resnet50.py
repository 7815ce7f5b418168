"""Builds the flat ResNet-50 of generate.py in Keras and prints its summary, as a whole process."""

import keras
from keras import layers


def conv_norm(x, filters: int, kernel_size: int = 1, strides: int = 1, relu: bool = True):
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding="same")(x)
    x = layers.BatchNormalization(epsilon=1.001e-5)(x)
    return layers.Activation("relu")(x) if relu else x


def resnet50() -> keras.Model:
    image = layers.Input((224, 224, 3))
    x = conv_norm(image, 64, 7, 2)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage, (filters, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            strides = 2 if stage and not block else 1
            shortcut = x if block else conv_norm(x, 4 * filters, 1, strides, relu=False)
            x = conv_norm(x, filters, 1, strides)
            x = conv_norm(x, filters, 3)
            x = conv_norm(x, 4 * filters, relu=False)
            x = layers.Activation("relu")(layers.add([shortcut, x]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, activation="softmax")(x))


if __name__ == "__main__":
    resnet50().summary()
