"""POST /v1/embeddings: texts are judged as prompts are; vectors are numbers and leave as the engine made them."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from service.api.passages import Place, Places
from service.api.schemas import JsonObject, Model, Strict, User
from service.gate.exchange import Asked

Input = Annotated[str, Field(min_length=1)]


class EmbeddingsRequest(Strict):
    model: Model
    input: Input | Annotated[list[Input], Field(min_length=1, max_length=2048)]
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: User | None = Field(None, exclude=True, description="your end user; kept as a keyed hash only")

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, texts: Any) -> Any:
        if isinstance(texts, list) and any(isinstance(t, int | list) for t in texts):
            raise PydanticCustomError("token_ids", "Token ids cannot be judged. Send text.")
        return texts

    def body(self) -> JsonObject:
        """What goes to the engine: the fields the client set, and no other."""
        return self.model_dump(mode="json", exclude_unset=True)


def asked(request: EmbeddingsRequest) -> Asked:
    """What goes to the gate: every text is a passage, and has nothing to do with the others."""
    body = request.body()
    single = isinstance(request.input, str)
    paths = [("input",)] if single else [("input", number) for number in range(len(request.input))]
    places = Places(body, tuple(Place(path, "prompt") for path in paths))
    return Asked("embeddings", body, places.passages(), places, subject=request.user)
