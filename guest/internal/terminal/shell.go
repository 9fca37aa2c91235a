package terminal

import (
	"fmt"
	"os"
	"path"
	"strings"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/launch"
)

const (
	bundledShell  = "/.rexec/shell/bin/zsh"
	bundledConfig = "/.rexec/shell/etc"
	// nestedShell is how programs and people start it again: it sets its own configuration.
	nestedShell = "/.rexec/shell/path/zsh"
)

// options are the keys of the `shell` object that the bundled shell's configuration reads from its environment.
var options = []string{
	"name", "theme", "autosuggestions", "syntax_highlight", "history_search", "git_aliases", "system_stats", "use_tmux",
}

// choose finds the shell: the bundled one where it is wanted and there, else the user's own, else bash, else sh. The
// image's own is no login shell: a distribution's profile would take the image's PATH away.
func choose(name, user string, wanted map[string]any) ([]string, map[string]string, error) {
	account, err := accounts.Lookup(user)
	if err != nil {
		return nil, nil, err
	}
	if enhanced, _ := wanted["enhanced"].(bool); enhanced && launch.Executable(bundledShell) {
		return []string{bundledShell, "-l"}, bundled(name, wanted), nil
	}
	refusing := map[string]bool{"nologin": true, "false": true, "true": true, "sync": true}
	candidates := []string{account.Shell, "/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/ash", "/busybox/sh"}
	for _, candidate := range candidates {
		if candidate != "" && !refusing[path.Base(candidate)] && launch.Executable(candidate) {
			return []string{candidate}, map[string]string{"SHELL": candidate}, nil
		}
	}
	return nil, nil, fault.New(400, "no_such_command", "the image has no shell")
}

func bundled(name string, wanted map[string]any) map[string]string {
	env := map[string]string{"ZDOTDIR": bundledConfig, "SHELL": nestedShell, "REXEC_SHELL_TERMINAL": name}
	for _, option := range options {
		switch value := wanted[option].(type) {
		case bool:
			env["REXEC_SHELL_"+strings.ToUpper(option)] = map[bool]string{false: "0", true: "1"}[value]
		case string:
			env["REXEC_SHELL_"+strings.ToUpper(option)] = value
		case nil:
		default:
			env["REXEC_SHELL_"+strings.ToUpper(option)] = fmt.Sprint(value)
		}
	}
	return env
}

// editor names the friendliest that the image has, where nobody named one.
func editor(env map[string]string) {
	searched, given := env["PATH"]
	if !given {
		searched = os.Getenv("PATH")
	}
	if env["EDITOR"] != "" || os.Getenv("EDITOR") != "" {
		return
	}
	for _, name := range []string{"nano", "vim", "vi"} {
		if _, err := launch.LookPath(name, searched, "/"); err == nil {
			env["EDITOR"] = name
			return
		}
	}
}
