"""The networks of specs/ as a PyTorch engineer writes them by hand: the measure of the emitted modules.

One class a spec. It takes the inputs of the spec by name (images channels-last), returns what the emitted
module returns (a tensor for one output, a dict for several; logits on demand), and declares its weights in
the order of the spec, so that they can be copied over one by one. Nothing here is slower than it could be.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(64, 32)
        self.hidden2 = nn.Linear(32, 32)
        self.probs = nn.Linear(32, 10)

    def forward(self, features: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.hidden1(features))
        x = F.relu(self.hidden2(x))
        x = self.probs(x)
        return x if logits else x.softmax(-1)


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.digit = nn.Linear(1024, 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = image.permute(0, 3, 1, 2) * 0.0625
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x)).permute(0, 2, 3, 1)
        x = self.digit(self.drop(x.flatten(1)))
        return x if logits else x.softmax(-1)


class QuestionAnswering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text_vectors = nn.Embedding(10000, 64)
        self.text_code = nn.LSTM(64, 32, batch_first=True)
        self.question_vectors = nn.Embedding(10000, 32)
        self.question_code = nn.LSTM(32, 32, batch_first=True)
        self.answer = nn.Linear(64, 500)

    def forward(self, text: Tensor, question: Tensor, *, logits: bool = False) -> Tensor:
        _, (text_code, _) = self.text_code(self.text_vectors(text))
        _, (question_code, _) = self.question_code(self.question_vectors(question))
        answer = self.answer(torch.cat([text_code[-1], question_code[-1]], -1))
        return answer if logits else answer.softmax(-1)


class Posts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(10000, 256)
        self.conv1 = nn.Conv1d(256, 256, 5)
        self.conv2 = nn.Conv1d(256, 256, 5)
        self.conv3 = nn.Conv1d(256, 256, 5)
        self.hidden = nn.Linear(256, 128)
        self.age = nn.Linear(128, 1)
        self.income = nn.Linear(128, 10)
        self.gender = nn.Linear(128, 1)

    def forward(self, posts: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        x = self.vectors(posts).transpose(1, 2)
        x = F.max_pool1d(F.relu(self.conv1(x)), 5)
        x = F.max_pool1d(F.relu(self.conv2(x)), 5)
        x = F.relu(self.conv3(x)).amax(2)
        x = F.relu(self.hidden(x))
        income, gender = self.income(x), self.gender(x)
        if not logits:
            income, gender = income.softmax(-1), gender.sigmoid()
        return {"age": self.age(x), "income": income, "gender": gender}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(128, 32, batch_first=True)
        self.similarity = nn.Linear(64, 1)

    def forward(self, left: Tensor, right: Tensor, *, logits: bool = False) -> Tensor:
        _, (left_code, _) = self.encoder(left)
        _, (right_code, _) = self.encoder(right)
        similarity = self.similarity(torch.cat([left_code[-1], right_code[-1]], -1))
        return similarity if logits else similarity.sigmoid()


class ConvNorm(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        self.shortcut = ConvNorm(in_channels, 4 * channels, stride=stride) if project else None
        self.reduce = ConvNorm(in_channels, channels, stride=stride)
        self.spatial = ConvNorm(channels, channels, kernel_size=3)
        self.expand = ConvNorm(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = F.relu(self.reduce(x))
        x = F.relu(self.spatial(x))
        return F.relu(shortcut + self.expand(x))


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, kernel_size=7, stride=2)
        blocks: list[Bottleneck] = []
        in_channels = 64
        for channels, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks.append(Bottleneck(in_channels, channels, stride, project=True))
            in_channels = 4 * channels
            blocks.extend(Bottleneck(in_channels, channels) for _ in range(depth - 1))
        self.blocks = nn.Sequential(*blocks)
        self.probs = nn.Linear(2048, 1000)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)))
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.blocks(x).mean((2, 3))
        x = self.probs(x)
        return x if logits else x.softmax(-1)
