# Made by graphspec 0.1.0 from the spec posts. It needs torch 2.10 or later.
"""posts: posts int64[N, length]
-> age float32[N, 1], income float32[N, 10], gender float32[N, 1].
"""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, (nn.Conv1d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Posts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(10000, 256)
        self.conv1 = nn.Conv1d(256, 256, 5)
        self.conv2 = nn.Conv1d(256, 256, 5)
        self.conv3 = nn.Conv1d(256, 256, 5)
        self.features = nn.Linear(256, 128)
        self.age = nn.Linear(128, 1)
        self.income = nn.Linear(128, 10)
        self.gender = nn.Linear(128, 1)
        self.apply(init_weights)

    def forward(self, posts: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        if (size := posts.shape[1]) < 149:
            raise ValueError(f"posts: `length` must be at least 149, not {size}")
        x = self.vectors(posts)  # [N, length, 256]
        x = F.relu(self.conv1(x.transpose(1, 2)), inplace=True)  # [N, 256, length - 4]
        x = F.max_pool1d(x, 5)  # [N, 256, (length - 4) // 5]
        x = F.relu(self.conv2(x), inplace=True)  # [N, 256, (length - 24) // 5]
        x = F.max_pool1d(x, 5)  # [N, 256, (length - 24) // 25]
        x = F.relu(self.conv3(x), inplace=True).amax(2)  # [N, 256]
        features = F.relu(self.features(x), inplace=True)  # [N, 128]
        age = self.age(features)  # [N, 1]
        income = self.income(features)  # [N, 10]
        gender = self.gender(features)  # [N, 1]
        if not logits:
            income, gender = income.softmax(-1), gender.sigmoid()
        return {"age": age, "income": income, "gender": gender}
