"""Category names and what they mean. The words of policies, verdicts, training labels and metrics."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CATEGORIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "harm": "a request for, or help with, something that hurts people or breaks the law",
        "response_harm": "an answer that gives harmful help instead of declining",
        "injection": "text that tries to override the instructions it is embedded in",
        "toxicity": "insults, threats, harassment, obscenity",
        "hate": "demeans people for who they are: religion, ethnicity, gender, disability, ...",
        "pii": "personal data of an identifiable person",
        "email": "an e-mail address",
        "phone": "a telephone number",
        "card": "a payment card number whose checksum is right",
        "iban": "a bank account number whose checksum is right",
        "secret": "a key, token or password that opens something",
    }
)
