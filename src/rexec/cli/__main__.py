from rexec.cli import app

app()
