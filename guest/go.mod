module rexec-guest

go 1.27
