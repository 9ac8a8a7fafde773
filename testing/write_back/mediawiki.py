"""Edits pages of a test's wiki for `headwater test mediawiki --write-back`, as a maintenance script does.

MW_CONFIG_FILE and MW_INSTALL_PATH name the wiki, as for mediawiki-driver.php, and HEADWATER_WIKI_DRIVER that script.
"""

import json
import os
import subprocess


class WriteBack:
    def __init__(self, options):
        self.titles = {}

    def _step(self, **step):
        ran = subprocess.run(
            ["php", os.environ["HEADWATER_WIKI_DRIVER"]], input=json.dumps([step]).encode(), capture_output=True
        )
        if ran.returncode != 0:
            raise RuntimeError(ran.stderr.decode(errors="replace") or ran.stdout.decode(errors="replace"))
        return json.loads(ran.stdout)[0]

    def tables(self):
        return ["pages"]

    def insert(self, table):
        title = f"Made by a test {len(self.titles)}"
        page = self._step(do="edit", title=title, text="1")["pageid"]
        self.titles[page] = title
        return {"pageid": page}

    def update(self, table, key):
        self._step(do="edit", title=self.titles[key["pageid"]], text="1 and more")

    def delete(self, table, key):
        self._step(do="delete", title=self.titles[key["pageid"]])
