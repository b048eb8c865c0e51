"""Answers to the same prompts: from a model in this process, or through an OpenAI-compatible endpoint."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from training.llm.dialogues import Message
from training.rows import DataError

KEY: Final = "SLUICEGATE_ENGINE_KEY"
Dialogues = Sequence[Sequence[Message]]


class Answerer(Protocol):
    """Answers dialogues in order. An answer that was refused by a gate is empty."""

    def answer(self, dialogues: Dialogues) -> list[str]: ...


class Local:
    """A causal model with its tokenizer; greedy where `temperature` is 0."""

    def __init__(self, model: Any, tokenizer: Any, tokens: int, temperature: float = 0.0, batch: int = 16) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._tokens, self._temperature, self._batch = tokens, temperature, batch

    def answer(self, dialogues: Dialogues) -> list[str]:
        import torch

        prompts = [
            self.tokenizer.apply_chat_template(list(d), add_generation_prompt=True, tokenize=False) for d in dialogues
        ]
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
        found = [""] * len(prompts)
        self.model.eval()
        for start in range(0, len(order), self._batch):
            nth = order[start : start + self._batch]
            with torch.no_grad():
                for n, text in zip(nth, self._write([prompts[n] for n in nth]), strict=True):
                    found[n] = text
        return found

    def _write(self, prompts: list[str]) -> list[str]:
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        inputs = inputs.to(self.model.device)
        drawn = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        ids = self.model.generate(
            **inputs, max_new_tokens=self._tokens, use_cache=True, pad_token_id=self.tokenizer.pad_token_id,
            **({"temperature": None, "top_p": None} | drawn),
        )  # fmt: skip
        written = self.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in written]


def local(folder: str, tokens: int, temperature: float = 0.0) -> Local:
    """A model folder, a hub id, or the folder of an adapter."""
    import json

    import torch
    from transformers import AutoModelForCausalLM

    from training.llm import model

    base, adapter = folder, Path(folder) / model.ADAPTER
    if adapter.is_file():
        base = json.loads(adapter.read_text())["base_model_name_or_path"]
    found = AutoModelForCausalLM.from_pretrained(model.source(base), dtype=torch.bfloat16)
    if adapter.is_file():
        from peft import PeftModel

        found = PeftModel.from_pretrained(found, folder).merge_and_unload()
    return Local(found, model.tokenizer(base), tokens, temperature)


class Endpoint:
    """`POST /v1/chat/completions`; the key comes from SLUICEGATE_ENGINE_KEY. What a gate refuses is an empty answer."""

    def __init__(self, url: str, model: str, tokens: int, temperature: float = 0.0, at_once: int = 8) -> None:
        self._url, self._at_once = url.rstrip("/"), at_once
        self._body = {"model": model, "max_tokens": tokens, "temperature": temperature, "seed": 7}

    def answer(self, dialogues: Dialogues) -> list[str]:
        """Raises DataError when the endpoint cannot be reached or answers with another error than a refusal."""
        return asyncio.run(self._answers(dialogues))

    async def _answers(self, dialogues: Dialogues) -> list[str]:
        headers = {"Authorization": f"Bearer {os.environ.get(KEY, 'none')}"}
        turn = asyncio.Semaphore(self._at_once)
        async with aiohttp.ClientSession(headers=headers) as session:
            return list(await asyncio.gather(*(self._one(session, turn, list(d)) for d in dialogues)))

    async def _one(self, session: aiohttp.ClientSession, turn: asyncio.Semaphore, messages: list[Message]) -> str:
        try:
            async with (
                turn,
                session.post(f"{self._url}/v1/chat/completions", json=self._body | {"messages": messages}) as response,
            ):
                body = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DataError(f"no answer from {self._url}: {error or type(error).__name__}") from error
        if response.status == 400 and body.get("error", {}).get("code") == "content_filter":
            return ""
        if response.status != 200:
            raise DataError(f"{self._url} answers {response.status}: {str(body)[:200]}")
        return (body["choices"][0]["message"].get("content") or "").strip()
