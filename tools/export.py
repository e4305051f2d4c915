"""Entry point of `mutualformer-sod export`."""

from entry import run_command

if __name__ == "__main__":
    run_command("export")
