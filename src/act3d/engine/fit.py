"""From a stage module and its settings to a finished run."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import lightning
import torch

from act3d import checkpoints
from act3d.data.clouds import CloudDataset
from act3d.data.views import spread_points
from act3d.engine import processes
from act3d.engine.clouds import train_loader
from act3d.engine.keeper import RunKeeper
from act3d.engine.module import StageModule
from act3d.engine.run_folder import RunFolder, RunResult
from act3d.engine.state import Position, read_state
from act3d.errors import ConfigError
from act3d.progress import duration_text
from act3d.settings.training import OptimConfig, TrainerConfig, to_dict

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def run(
    command: str,
    module: StageModule,
    clouds: CloudDataset,
    folder: RunFolder,
    settings: Mapping[str, Any],
    meta: dict[str, Any],
    protocol: str,
    resume: bool,
) -> RunResult:
    """Train a stage to its end, or until it is interrupted.

    Args:
        command: the command's name, for results.json and messages.
        module: the stage, at its beginning.
        clouds: training clouds.
        folder: where the run lives.
        settings: all settings, for config.yaml and the checkpoint.
        meta: facts for native checkpoints.
        protocol: what kind of validation the best weights were picked by.
        resume: take up `last.ckpt`.

    Raises:
        Interrupted: on SIGINT or SIGTERM, after everything was saved.
        NonFiniteLoss: the loss is not finite.
        CheckpointError: the checkpoint does not fit.
    """
    plan = module.plan
    check_machine(plan)
    state, position = read_state(folder.state) if resume and folder.state.exists() else ({}, Position())
    was = state.get("lives_on", "host") if state else ""  # runs of before this was kept read on the host
    module.loader = train_loader(clouds, module.data, module.seed, plan.devices, device_of(plan), was)
    module.names = clouds.names
    keeper = RunKeeper(folder, {**meta, "settings": to_dict(settings)}, plan, f"act3d {command} --resume {folder.path}")
    scaler = None
    if state:
        module.restore(state, position, str(folder.state))
        keeper.results, scaler = dict(state["results"]), state["scaler"]
    elif plan.fit_start:
        torch.manual_seed(module.seed)  # every process fits the same weights
        module.fit_start(module.draw(spread_points(clouds, plan.fit_start)))
    if keeper.first:
        folder.begin(settings, command)
        if not resume:
            module.keep_inputs(folder)
    keeper.open(module)
    _say_start(command, module, clouds, keeper, was)
    try:
        # A run that was killed while it validated owes that validation before it goes on.
        if module.position.pending:
            module.to(device_of(plan))
            keeper.validate(module)
        if plan.compile:
            module.compile_parts()
        _fit(module, plan, module.optim, keeper, scaler)
    finally:
        keeper.close()
    return _finish(command, module, clouds, folder, keeper, protocol)


def _say_start(command: str, module: StageModule, clouds: CloudDataset, keeper: RunKeeper, was: str) -> None:
    loader = module.loader
    keeper.say(
        f"{command}: {len(clouds)} clouds of {clouds.name} ({loader.place}), {module.plan.epochs} epochs of "
        f"{module.steps_per_epoch} steps, from step {module.step}, into {keeper.folder.path}"
    )
    if was not in ("", loader.lives_on):
        keeper.say(
            f"{command}: clouds were on {was}, now on {loader.lives_on}: other random points are drawn from here"
        )


def _fit(
    module: StageModule, plan: TrainerConfig, optim: OptimConfig, keeper: RunKeeper, scaler: dict[str, Any] | None
) -> None:
    left = plan.epochs - module.position.epoch
    if left <= 0 or (plan.max_steps and module.step >= plan.max_steps):
        return
    quiet()
    trainer = lightning.Trainer(
        accelerator="gpu" if on_cuda(plan) else "cpu",
        devices=plan.devices,
        strategy=_strategy(module, plan),
        precision=PRECISIONS[plan.precision],  # type: ignore[arg-type]
        max_epochs=left,
        accumulate_grad_batches=plan.accumulate,
        gradient_clip_val=optim.clip or None,
        sync_batchnorm=plan.sync_batchnorm and plan.devices > 1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=str(keeper.folder.path),
    )
    if scaler is not None and getattr(trainer.precision_plugin, "scaler", None) is not None:
        trainer.precision_plugin.scaler.load_state_dict(scaler)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        silence_warnings()
        trainer.fit(module)


def _strategy(module: StageModule, plan: TrainerConfig) -> str:
    if plan.devices == 1:
        return "auto"
    # Without a mask the student's decoder takes no part, which DDP must be told.
    return "ddp_find_unused_parameters_true" if getattr(module, "hidden", 1) == 0 else "ddp"


def _finish(
    command: str, module: StageModule, clouds: CloudDataset, folder: RunFolder, keeper: RunKeeper, protocol: str
) -> RunResult:
    """Write the final weights and results.json, from the first process."""
    position = module.position
    metrics = {**keeper.results, "epochs": position.epoch, "steps": module.step}
    if not keeper.first:
        return folder.result(metrics)
    checkpoints.save(module.model, folder.last, keeper.meta)
    metrics |= module.conclude(folder)
    folder.write_results(
        command=command,
        protocol=protocol,
        metrics=metrics,
        seed=module.seed,
        data={"name": clouds.name, "fingerprint": clouds.fingerprint, "lives_on": module.loader.lives_on},
        duration_s=round(position.duration_s, 1),
        clouds_per_s=round(position.clouds / max(position.training_s, 1e-9), 2),
        **module.facts,
    )
    keeper.say(f"{command}: finished after {duration_text(position.duration_s)}; weights in {folder.last}")
    return folder.result(metrics)


def on_cuda(plan: TrainerConfig) -> bool:
    """Tell whether a run computes on CUDA."""
    return plan.accelerator == "cuda" or (plan.accelerator == "auto" and torch.cuda.is_available())


def device_of(plan: TrainerConfig) -> torch.device:
    """Return the device of this process."""
    return torch.device("cuda", processes.rank()) if on_cuda(plan) else torch.device("cpu")


def check_machine(plan: TrainerConfig) -> None:
    """Check what the settings ask of this machine.

    Raises:
        ConfigError: no CUDA device, or not as many; fp16 on the CPU.
    """
    if on_cuda(plan):
        found = torch.cuda.device_count()
        if plan.devices > found:
            raise ConfigError(f"trainer.devices: {plan.devices} asked for; this machine has {found} CUDA devices")
    elif plan.precision == "fp16":
        raise ConfigError("trainer.precision: fp16 needs CUDA; on the CPU use fp32")


def quiet() -> None:
    """Keep Lightning's tips and device lists off the terminal; its warnings and errors still come through."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)


def silence_warnings() -> None:
    """Ignore warnings that say nothing to someone who trains."""
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
