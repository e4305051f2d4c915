"""Entry point of `mutualformer-sod pack-data`."""

from entry import run_command

if __name__ == "__main__":
    run_command("pack_data")
