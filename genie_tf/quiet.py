"""Keep libraries quiet while they load."""

import contextlib
import os
import sys
import tempfile

from genie_tf.errors import UserError


@contextlib.contextmanager
def quiet():
    """Suppress stderr, for example while libraries load. It is printed if an unexpected exception occurs."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile("w+") as said, contextlib.redirect_stderr(said):  # a notebook's stderr has no descriptor
        os.dup2(said.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            said.seek(0)
            os.write(terminal, said.read().encode())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
