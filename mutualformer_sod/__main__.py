"""Run a command: `python -m mutualformer_sod COMMAND ...`."""

from mutualformer_sod.cli.commands import main

if __name__ == "__main__":
    main()
