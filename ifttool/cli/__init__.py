"""The command line: a thin shell over the library. Typer and Rich live only here."""
