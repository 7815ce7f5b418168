"""The comparison in Lightning."""

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Digits(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def training_step(self, batch, index):
        pixels, digit = batch
        loss = F.cross_entropy(self.model(pixels), digit)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        pixels, digit = batch
        scores = self.model(pixels)
        self.log("val_loss", F.cross_entropy(scores, digit))
        self.log("val_accuracy", (scores.argmax(1) == digit).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.001)


def batches(path, shuffle):
    arrays = np.load(path)
    tensors = TensorDataset(torch.tensor(arrays["pixels"]), torch.tensor(arrays["digit"]))
    return DataLoader(tensors, batch_size=32, shuffle=shuffle)


if __name__ == "__main__":
    trainer = lightning.Trainer(max_epochs=20, accelerator="cpu")
    held = batches("held.npz", shuffle=False)
    module = Digits()
    trainer.fit(module, batches("train.npz", shuffle=True), held)
    trainer.validate(module, held)
