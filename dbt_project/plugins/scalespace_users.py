"""Users that were forgotten, and identifiers that must not be kept as they are."""

import hashlib
import hmac
import json
import os
import re
from pathlib import Path

SALT_VARIABLE = "SCALESPACE_USER_SALT"
SHORTEST_SALT = 16
FORGOTTEN = "forgotten.json"


def pseudonym(user: str) -> str:
    """Return the name that stands for a user in every file: HMAC-SHA256 under the salt, in hex.

    An empty text is no user, and stays what it is.
    """
    salt = os.environ.get(SALT_VARIABLE, "")
    if len(salt) < SHORTEST_SALT:
        raise ValueError(salt_problem(""))
    return hmac.new(salt.encode(), user.encode(), hashlib.sha256).hexdigest() if user else user


def salt_problem(_unused: str) -> str:
    """Say in one line why there is no salt to work with; empty where there is one."""
    salt = os.environ.get(SALT_VARIABLE, "")
    if len(salt) >= SHORTEST_SALT:
        return ""
    what = f"has {len(salt)} characters" if salt else "is not set"
    return (
        f"hash_user_ids needs a salt, but {SALT_VARIABLE} {what}: set it to a secret of at least "
        f"{SHORTEST_SALT} characters, always the same for one dataset"
    )


def forgotten_users(home: str) -> str:
    """Return the list of forgotten users as JSON, ``{"salt": text, "hashes": [...]}``.

    It holds a SHA-256 of salt and identifier each, as `trainer forget` wrote them.
    """
    try:
        kept = json.loads((Path(home) / FORGOTTEN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = {"salt": "", "users": {}}
    return json.dumps({"salt": kept["salt"], "hashes": sorted(kept["users"])})


def without_lines_of_the_log(results: Path) -> None:
    """Cut the log's own lines out of what dbt noted of a failure, as DuckDB quotes them."""
    try:
        text = results.read_text(encoding="utf-8")
    except OSError:
        return
    content = json.loads(text)
    for result in content.get("results", []):
        if message := result.get("message"):
            result["message"] = re.split(r"Original Line:", str(message))[0]
        if response := result.get("adapter_response"):
            response.pop("message", None)
    if (cut := json.dumps(content)) != text:
        partial = results.with_name(f".{results.name}.partial")
        partial.write_text(cut, encoding="utf-8")
        os.replace(partial, results)
