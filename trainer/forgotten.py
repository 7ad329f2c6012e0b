"""The list of users whose events no build and no stream reads, without their identifiers.

``<home>/forgotten.json`` is ``{"salt": text, "users": {hash: what}}``. A hash is SHA-256 of salt
and identifier: who has the list can test a guess, and read nobody's name. dbt's staging reads it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_repo.atomic import replacing
from feature_repo.errors import BadInput
from trainer.models.base import write_json

FILE = "forgotten.json"  # in the home
SALT_VARIABLE = "SCALESPACE_USER_SALT"
_SHORTEST_SALT = 16


@dataclass
class Forgotten:
    """The list.

    Attributes
    ----------
    salt
        Of this list alone.
    users
        By hash, what is to be remembered of the forgetting.
    """

    salt: str = ""
    users: dict[str, dict[str, Any]] = field(default_factory=dict)

    def hash_of(self, user: str) -> str:
        """What stands for a user in the list."""
        return hashlib.sha256((self.salt + user).encode()).hexdigest()

    def note(self, user: str, **what: Any) -> None:
        """Enter a user."""
        self.salt = self.salt or secrets.token_hex(16)
        self.users[self.hash_of(user)] = what


def read_forgotten(home: Path) -> Forgotten:
    """The list of a home; an empty one where nobody was forgotten."""
    path = home / FILE
    if not path.is_file():
        return Forgotten()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Forgotten(kept["salt"], kept["users"])
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is damaged: restore it, or users come back") from None


def write_forgotten(home: Path, forgotten: Forgotten) -> None:
    """Replace the list of a home."""
    with replacing(home / FILE) as fresh:
        write_json(fresh, {"salt": forgotten.salt, "users": forgotten.users})


def pseudonym(user: str) -> str:
    """The name of a user in the files of a dataset with ``hash_user_ids``; as dbt's staging has it.

    Raises
    ------
    BadInput
        Without a salt in the environment.
    """
    salt = os.environ.get(SALT_VARIABLE, "")
    if len(salt) < _SHORTEST_SALT:
        raise BadInput(
            f"hash_user_ids needs a salt: set {SALT_VARIABLE} to the secret of at least "
            f"{_SHORTEST_SALT} characters that the dataset is built with"
        )
    return hmac.new(salt.encode(), user.encode(), hashlib.sha256).hexdigest() if user else user
