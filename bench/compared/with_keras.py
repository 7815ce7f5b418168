"""The comparison in Keras."""

import keras
import numpy as np

train, held = np.load("train.npz"), np.load("held.npz")
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.001),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(
    train["pixels"],
    train["digit"],
    batch_size=32,
    epochs=20,
    validation_data=(held["pixels"], held["digit"]),
    verbose=2,
)
model.save("model.keras")
