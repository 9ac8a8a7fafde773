"""An S3 server for the tests: moto's, on a port that is free. Prints `{"port": ..}` and ends when stdin does.

With the argument `--auth` it refuses keys that it does not know, which is any key; `--bucket NAME` makes a bucket.
"""

import json
import logging
import os
import sys
import threading
import urllib.request

if "--auth" in sys.argv:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# moto looks whether an object is there and writes it in two steps; S3, and so this server, does it in one.
ONE_WRITE_AT_A_TIME = threading.Lock()


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)

    def serve(environ, start_response):
        if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            with ONE_WRITE_AT_A_TIME:
                return application(environ, start_response)
        return application(environ, start_response)

    server = make_server("127.0.0.1", 0, serve, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if "--bucket" in sys.argv:
        name = sys.argv[sys.argv.index("--bucket") + 1]
        asked = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/{name}", method="PUT")
        urllib.request.urlopen(asked, timeout=60).close()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
