package exec

import (
	"strings"
	"syscall"

	"rexec-guest/internal/fault"
)

var signals = map[string]syscall.Signal{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
	"SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20,
	"TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29,
	"PWR": 30, "SYS": 31,
}

// Signal parses a name, with or without SIG, or a number.
func Signal(value any) (syscall.Signal, error) {
	switch known := value.(type) {
	case float64:
		if number := int(known); number >= 1 && number <= 64 && float64(number) == known {
			return syscall.Signal(number), nil
		}
	case string:
		if signal, ok := signals[strings.TrimPrefix(strings.ToUpper(known), "SIG")]; ok {
			return signal, nil
		}
	}
	return 0, fault.BadRequest("no such signal: %v", value)
}
