"""What `feast apply` registers: the views that dbt published, never written a second time here."""

import sys

from feature_repo.errors import BadInput
from feature_repo.feast_objects import build
from feature_repo.home import home

try:
    # Feast looks for objects among a module's attributes, so each gets a name.
    globals().update({f"{type(o).__name__}_{o.name}": o for o in build(home())})
except BadInput as error:
    # Feast's own command line would print a traceback.
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2) from None
