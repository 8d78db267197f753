"""``python -m ifttool``."""

from ifttool.cli.start import main

main()
