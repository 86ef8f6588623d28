"""`python -m kubemint`."""

from kubemint.commands.main import main

main()
