"""Ask the server to run tests: the test command of each mutant. Usage: client.py SOCKET TIMEOUT TEST..."""

import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    request = {"timeout": float(sys.argv[2]), "tests": sys.argv[3:]}
    connection.sendall(json.dumps(request).encode() + b"\n")
    answer = json.loads(connection.makefile().readline())
print(answer["output"])
sys.exit(answer["code"])
