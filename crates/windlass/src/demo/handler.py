import json
import os
import urllib.request

import app


def handler(event, context):
    app.handler(event, context)
    # The ledger of the demo proves that every record arrived.
    urllib.request.urlopen(os.environ["LEDGER"], json.dumps(event).encode()).close()
