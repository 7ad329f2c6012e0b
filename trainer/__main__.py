"""``python -m trainer``, and what ``torchrun -m trainer`` starts."""

from __future__ import annotations

from trainer.cli import main

if __name__ == "__main__":
    main()
