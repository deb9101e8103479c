"""``python -m aecodec`` is the command line."""

from .cli import main

main()
