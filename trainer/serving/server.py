"""The process: listening, signals, and a stop that drops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Generator

import uvicorn
from fastapi import FastAPI

from trainer.serving import logs
from trainer.serving.connections import patient_for
from trainer.serving.current_model import CurrentModel
from trainer.serving.settings import ServingSettings


class Server(uvicorn.Server):
    """Uvicorn with our signals: TERM and INT stop it gracefully with exit code 0, HUP reloads."""

    def __init__(self, config: uvicorn.Config, model: CurrentModel) -> None:
        super().__init__(config)
        self._model = model

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals on the event loop, where the server runs in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit  # who asks twice does not want to wait
        self.should_exit = True

    def _reload(self) -> None:
        threading.Thread(target=self._model.reload, args=(True,), daemon=True).start()


def serve(app: FastAPI, settings: ServingSettings, host: str, port: int) -> None:
    """Serve until told to stop, and then until running requests have their answers.

    Parameters
    ----------
    app
        See :func:`trainer.serving.app.make_app`.
    settings
        The same that the application has.
    host, port
        Where to listen; port 0 takes a free one, which the log names.
    """
    logs.configure()
    app.state.serving.model.announce()
    config = configure(app, settings, host, port)
    # What is loaded by now stays: collections of garbage need not look through it, which took a
    # tenth of a second in the middle of whatever request it met.
    gc.collect()
    gc.freeze()
    # A thread that computes holds the interpreter for this long while the loop waits for it after
    # each write to a socket or to the log: at the default 5 ms, most of a request's time.
    sys.setswitchinterval(0.0005)
    Server(config, app.state.serving.model).run()


def configure(app: FastAPI, settings: ServingSettings, host: str, port: int) -> uvicorn.Config:
    """Uvicorn's configuration; see :func:`serve`."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whoever stands behind a proxy limits rates there: its header is anyone's to write.
        proxy_headers=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.drain_s,
        http=patient_for(settings.head_timeout_s, settings.max_head_bytes),
        ws="none",
    )
