"""Entry point of `mutualformer-sod check-data`."""

from entry import run_command

if __name__ == "__main__":
    run_command("check_data")
