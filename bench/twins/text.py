"""Networks for sequences."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


def init_recurrent(module: nn.Module) -> None:
    """Keras' initializers. An LSTM has one bias, whose forget gate starts at 1."""
    if isinstance(module, (nn.LSTM, nn.GRU)):
        nn.init.xavier_uniform_(module.weight_ih_l0)  # type: ignore[arg-type]
        nn.init.orthogonal_(module.weight_hh_l0)  # type: ignore[arg-type]
        nn.init.zeros_(module.bias_ih_l0)  # type: ignore[arg-type]
        nn.init.zeros_(module.bias_hh_l0)  # type: ignore[arg-type]
    if isinstance(module, nn.LSTM):
        nn.init.ones_(module.bias_ih_l0.detach().chunk(4)[1])  # type: ignore[operator]
        module.bias_hh_l0.requires_grad_(False)


class QuestionAnswering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text_vectors = nn.Embedding(10000, 64)
        self.text_code = nn.LSTM(64, 32, batch_first=True)
        self.question_vectors = nn.Embedding(10000, 32)
        self.question_code = nn.LSTM(32, 32, batch_first=True)
        self.answer = nn.Linear(64, 500)
        self.apply(init_weights)
        self.apply(init_recurrent)

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
        self.apply(init_weights)

    def forward(self, posts: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        if posts.shape[1] < 149:
            raise ValueError(f"posts: a text of {posts.shape[1]} tokens is too short")
        x = self.vectors(posts).transpose(1, 2)
        x = F.max_pool1d(F.relu(self.conv1(x), inplace=True), 5)
        x = F.max_pool1d(F.relu(self.conv2(x), inplace=True), 5)
        x = F.relu(self.conv3(x), inplace=True).amax(2)
        x = F.relu(self.hidden(x), inplace=True)
        income, gender = self.income(x), self.gender(x)
        if not logits:
            income, gender = income.softmax(-1), gender.sigmoid()
        return {"age": self.age(x), "income": income, "gender": gender}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(128, 32, batch_first=True)
        self.similarity = nn.Linear(64, 1)
        self.apply(init_weights)
        self.apply(init_recurrent)

    def forward(self, left: Tensor, right: Tensor, *, logits: bool = False) -> Tensor:
        _, (left_code, _) = self.encoder(left)
        _, (right_code, _) = self.encoder(right)
        similarity = self.similarity(torch.cat([left_code[-1], right_code[-1]], -1))
        return similarity if logits else similarity.sigmoid()


class ItemPrice(nn.Module):
    """Token 0 is padding at the end of a description: the state after its last word is its code."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5000, 32)
        self.description = nn.GRU(32, 32, batch_first=True)
        self.brand = nn.Embedding(200, 8)
        self.facts = nn.Linear(6, 16)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(120, 64)
        self.price = nn.Linear(64, 1)
        self.apply(init_weights)
        self.apply(init_recurrent)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self, description: Tensor, brand: Tensor, facts: Tensor, photo: Tensor, *, logits: bool = False
    ) -> Tensor:
        states, _ = self.description(self.words(description))
        last = (description != 0).sum(1) - 1
        code = states[torch.arange(len(states)), last]
        x = photo.permute(0, 3, 1, 2) * (1 / 255)
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x), inplace=True), 2)
        merged = torch.cat(
            [code, self.brand(brand), F.relu(self.facts(facts), inplace=True), x.mean((2, 3))], -1
        )
        return self.price(F.relu(self.hidden(merged), inplace=True))


class Attention(nn.Module):
    """Self-attention with separate projections for queries, keys and values, as in its state dict."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.heads, self.dropout = heads, dropout

    def forward(self, x: Tensor, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            project(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
        return self.output(x.transpose(1, 2).reshape(batch, length, width))


class Encoder(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, 0.1)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.expanded = nn.Linear(width, 2 * width)
        self.projected = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.drop(self.projected(F.relu(self.expanded(x), inplace=True))))


class TransformerClassifier(nn.Module):
    """Token 0 is padding: no word attends to it, and the mean ignores it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20000, 32)
        self.positions = nn.Embedding(200, 32)
        self.encoders = nn.ModuleList(Encoder(32, 2) for _ in range(2))
        self.objective = nn.Linear(32, 2)
        self.apply(init_weights)
        nn.init.xavier_uniform_(self.positions.weight)

    def forward(self, text: Tensor, *, logits: bool = False) -> Tensor:
        if text.shape[1] > 200:
            raise ValueError(f"text: {text.shape[1]} tokens are more than 200")
        there = text != 0
        x = self.words(text) + self.positions.weight[: text.shape[1]]
        for encoder in self.encoders:
            x = encoder(x, there[:, None, None])
        weights = there.unsqueeze(-1).to(x.dtype)
        x = self.objective((x * weights).sum(1) / weights.sum(1))
        return x if logits else x.softmax(-1)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, 0.1)
        self.drop1 = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(width)
        self.expanded = nn.Linear(width, 4 * width)
        self.projected = nn.Linear(4 * width, width)
        self.drop2 = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop1(self.attention(self.norm1(x), is_causal=True))
        return x + self.drop2(
            self.projected(F.gelu(self.expanded(self.norm2(x)), approximate=self.approximate))
        )


class Gpt(nn.Module):
    def __init__(
        self,
        width: int = 64,
        heads: int = 4,
        depth: int = 3,
        vocabulary: int = 96,
        context: int = 128,
        approximate: str = "none",
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.drop = nn.Dropout(0.1)
        self.layers = nn.ModuleList(Layer(width, heads, approximate) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.apply(init_weights)
        nn.init.xavier_uniform_(self.positions.weight)

    def forward(self, tokens: Tensor, *, logits: bool = False) -> Tensor:
        if tokens.shape[1] > self.context:
            raise ValueError(f"tokens: {tokens.shape[1]} are more than {self.context}")
        x = self.drop(self.embedding(tokens) + self.positions.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x)
        x = F.linear(self.norm(x), self.embedding.weight)
        return x if logits else x.softmax(-1)


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, 0.1)
        self.drop1 = nn.Dropout(0.1)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.expanded = nn.Linear(width, 4 * width)
        self.projected = nn.Linear(4 * width, width)
        self.drop2 = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.drop1(self.attention(x, mask)))
        return self.norm2(x + self.drop2(self.projected(F.gelu(self.expanded(x)))))


class Bert(nn.Module):
    """Token 0 is padding, which nothing attends to."""

    def __init__(self, vocabulary: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(512, width)
        self.kinds = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.drop = nn.Dropout(0.1)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(depth))
        self.pooled = nn.Linear(width, width)

    def forward(self, tokens: Tensor, segments: Tensor) -> dict[str, Tensor]:
        places = self.places.weight[: tokens.shape[1]]
        x = self.drop(self.norm(self.words(tokens) + places + self.kinds(segments)))
        mask = (tokens != 0)[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return {"states": x, "pooled": self.pooled(x[:, 0]).tanh()}
