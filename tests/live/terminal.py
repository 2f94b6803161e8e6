"""Runs a command in a terminal, waits until it shows a text, sends it a signal, and says how it and the terminal were left.

  python3 terminal.py SIGNAL TEXT COMMAND...
"""

import os
import pty
import signal
import sys
import termios

ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"

number, text, command = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)


def has_lines():
    return bool(termios.tcgetattr(terminal)[3] & termios.ICANON)


shown = b""
while text not in shown:
    shown += os.read(terminal, 65536)
was_raw = not has_lines()
os.kill(pid, number)
try:
    while True:
        shown += os.read(terminal, 65536)
except OSError:
    pass
_, status = os.waitpid(pid, 0)
ended_by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
print(
    "was raw" if was_raw else "was not raw",
    "is as it was" if has_lines() else "is raw",
    "screen left" if shown.rfind(LEAVES) > shown.rfind(ENTERS) >= 0 else "screen not left",
    ended_by,
    sep=", ",
)
