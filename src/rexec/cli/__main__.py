from rexec.cli.commands import app

app()
