"""A training prepared: the machine it computes on, its model, optimizer and batches, and where it stands."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch

from act3d import checkpoints
from act3d.data.views import spread_points
from act3d.engine import processes
from act3d.engine.machine import Step, launch
from act3d.engine.optimizer import build_optimizer, load_optimizer
from act3d.engine.recipe import Recipe
from act3d.engine.resume import batches_behind, changes, description
from act3d.engine.run_folder import RunFolder
from act3d.engine.schedules import sized
from act3d.engine.sharding import gathered, whole
from act3d.engine.shared_batch_norm import share_batch_norms
from act3d.engine.state import Position, read_state
from act3d.engine.tally import Tally
from act3d.errors import Act3dError


class Prepared:
    """All that a step needs, at the place where the run begins or goes on.

    Args:
        recipe: what is trained, at its beginning.
        folder: where the run lives; None = in memory only.
        resume: go on from the folder's `checkpoints/last.ckpt`.

    Attributes:
        changed: in words, what is other than when the run began.
        lanes: processes that the run began with, which decide the order of clouds that are fetched from a URL.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder | None, resume: bool) -> None:
        self.recipe, self.folder, self.plan = recipe, folder, recipe.plan
        self.fabric = launch(self.plan, recipe.unused_parameters)
        self.first = self.fabric.is_global_zero
        self.results: dict[str, Any] = {}
        self.changed: list[str] = []
        self._open = ExitStack()
        try:
            self._prepare(resume)
        except BaseException:
            self._open.close()
            raise

    def _prepare(self, resume: bool) -> None:
        recipe, folder = self.recipe, self.folder
        if folder is not None:
            self._lock(folder, resume)
        resumed = resume and folder is not None and folder.holds_state
        state, self.position = read_state(folder.state) if resumed and folder else ({}, Position())
        was = state.get("lives_on", "host") if state else ""  # runs of before this was kept read on the host
        self.lanes = int(state.get("lanes", self.fabric.world_size))
        self.loader = recipe.loader(self.fabric.device, was, self.lanes)
        recipe.plan, recipe.optim = sized(self.plan, recipe.optim, self.steps_per_epoch)
        now, before = recipe.plan.epochs, self.plan.epochs
        if now != before:
            name = "min_steps" if now > before else "step_ceiling"
            limit = getattr(self.plan, name)
            self.changed.append(f"trainer.{name}: {now} epochs instead of {before}, for {limit} steps")
        self.plan = recipe.plan
        self.description = description(recipe, self.fabric.world_size)
        if state:
            self._load(state)
        elif self.plan.fit_start:
            torch.manual_seed(recipe.seed)  # every process fits the same weights
            recipe.fit_start(recipe.draw(spread_points(recipe.clouds, self.plan.fit_start)))
        self._to_device(state)
        if folder is not None and self.first:  # last: settings that do not fit the state leave the folder as it was
            folder.begin(recipe.settings, recipe.command)
            if not state:
                recipe.keep_inputs(folder)

    def _lock(self, folder: RunFolder, resume: bool) -> None:
        """Take the folder, in the first process; all processes learn whether that is possible."""
        problem: Act3dError | None = None
        if self.first:
            try:
                self._open.enter_context(folder.locked())
                folder.check(resume)  # again: another command may just have ended here
            except Act3dError as error:
                problem = error
        if problem := processes.gather_objects(problem)[0]:
            raise problem

    def _load(self, state: dict[str, Any]) -> None:
        recipe, then, now = self.recipe, state.get("run", {}), self.description
        self.changed += changes(then, now)
        was, lives_on = state.get("lives_on", "host"), self.loader.lives_on
        if was != lives_on:
            self.changed.append(f"clouds were on {was}, now on {lives_on}: other random points are drawn from here")
        self.position.batch = batches_behind(self.position.batch, then, now, len(self.loader))
        checkpoints.load_stored_state(recipe.model, state["model"], str(self.folder and self.folder.state))
        recipe.load_state(state)
        self.results = dict(state["results"])

    def _to_device(self, state: dict[str, Any]) -> None:
        recipe, device = self.recipe, self.fabric.device
        if self.plan.sync_batchnorm and self.fabric.world_size > 1:
            for network in recipe.networks():
                share_batch_norms(network, device)
        recipe.model.to(device)
        recipe.to(device)
        self.tally = Tally(recipe.clouds.names)
        self._step = Step(recipe.model)
        self.model = self.fabric.setup_module(self._step)  # first: fsdp replaces parameters by parts of them
        self._optimizer = build_optimizer(recipe.model, recipe.optim, fused=self.plan.precision != "fp16")
        if state:
            load_optimizer(self._optimizer, state["optimizer"])
            self.tally.load_state(state, device)
            if state["scaler"] is not None:
                self.fabric.strategy.precision.load_state_dict(state["scaler"])
        optimizer = self.fabric.setup_optimizers(self._optimizer)
        assert not isinstance(optimizer, tuple)  # which several would be
        self.optimizer = optimizer

    def whole(self) -> AbstractContextManager[None]:
        """Let every process hold all weights for a while: see `act3d.engine.sharding.whole`."""
        return whole(self._step) if self.plan.sharded else nullcontext()

    def weights(self) -> dict[str, Any]:
        """Return what checkpoints store of the model, in the first process. All must call, outside `whole`."""
        return dict(gathered(checkpoints.stored_state(self.recipe.model)))

    # ------------------------------------------------------------------ where the run stands

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last one may have fewer batches to accumulate."""
        return -(-len(self.loader) // self.plan.accumulate)

    @property
    def step(self) -> int:
        """Optimizer steps behind us."""
        whole = self.position.batch == len(self.loader)
        done = self.steps_per_epoch if whole else self.position.batch // self.plan.accumulate
        return self.position.epoch * self.steps_per_epoch + done

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        steps = self.plan.epochs * self.steps_per_epoch
        return min(steps, self.plan.max_steps) if self.plan.max_steps else steps

    @property
    def epochs_behind(self) -> float:
        """Epochs behind us, with the fraction of the current one."""
        return self.position.epoch + (self.step % self.steps_per_epoch) / self.steps_per_epoch

    @property
    def at_max_steps(self) -> bool:
        """Whether the run has as many steps as it may have."""
        return bool(self.plan.max_steps) and self.step >= self.plan.max_steps

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.position.epoch >= self.plan.epochs or self.at_max_steps

    @property
    def validation_is_due(self) -> bool:
        """Whether to validate at the end of this epoch."""
        every = self.plan.validate_every
        return every > 0 and (self.done or self.position.epoch % every == 0)
