"""``python -m ifttool``."""

from ifttool.cli.app import main

main()
