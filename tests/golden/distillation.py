# Made by graphspec 0.1.0 from the spec distillation. It needs torch 2.10 or later.
"""distillation: image uint8[N, 8, 8, 1]
-> digit float32[N, 10], unlike float32[N], taught float32[N, 10].
"""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Large(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, 32, 3, padding="same"),
                nn.Conv2d(32, 64, 3, padding="same"),
            ]
        )
        self.drop = nn.Dropout(0.3)
        self.scores = nn.Linear(4096, 10)

    def forward(self, image: Tensor) -> Tensor:
        for conv in self.convs:
            image = F.relu(conv(image), inplace=True)
        return self.scores(self.drop(image.permute(0, 2, 3, 1).flatten(1)))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 16)
        self.scores = nn.Linear(16, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.scores(F.relu(self.hidden(image.flatten(1)), inplace=True))


class Distillation(nn.Module):
    def __init__(self, temperature: int = 4) -> None:
        super().__init__()
        self.teacher = Large(1)
        self.student = Small()
        self.temperature = temperature
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        scaled = image.to(next(self.parameters()).dtype) / 16  # [N, 8, 8, 1]
        teacher = self.teacher(scaled.permute(0, 3, 1, 2))  # [N, 10]
        student = self.student(scaled)  # [N, 10]
        x = (teacher.detach() / self.temperature).softmax(-1)  # [N, 10]
        unlike = -(x * (student / self.temperature).log_softmax(-1)).sum(-1)  # [N]
        if not logits:
            student, teacher = student.softmax(-1), teacher.softmax(-1)
        return {"digit": student, "unlike": unlike, "taught": teacher}
