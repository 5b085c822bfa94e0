"""solver-cloud's rooms, each opened when it is first needed: `cloud.launch` imports cloud/launch.py and no more.

A bare `inv --list` is three times as fast for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import arguments as arguments
    from . import aws as aws
    from . import aws_files as aws_files
    from . import aws_session as aws_session
    from . import bake as bake
    from . import batch as batch
    from . import batch_jobs as batch_jobs
    from . import batch_logs as batch_logs
    from . import bucket as bucket
    from . import bundle as bundle
    from . import bundle_directory as bundle_directory
    from . import bundle_index as bundle_index
    from . import bundle_lock as bundle_lock
    from . import cache as cache
    from . import child as child
    from . import children as children
    from . import claims as claims
    from . import cleanup as cleanup
    from . import commands as commands
    from . import complaints as complaints
    from . import config as config
    from . import costs as costs
    from . import defaults as defaults
    from . import display as display
    from . import dockerignore as dockerignore
    from . import download as download
    from . import engine as engine
    from . import errors as errors
    from . import fetch as fetch
    from . import files as files
    from . import firewall as firewall
    from . import git as git
    from . import given as given
    from . import grid as grid
    from . import image as image
    from . import image_check as image_check
    from . import instance_types as instance_types
    from . import job_view as job_view
    from . import jobs as jobs
    from . import keypair as keypair
    from . import launch as launch
    from . import leftovers as leftovers
    from . import listing as listing
    from . import logs as logs
    from . import machine as machine
    from . import machine_images as machine_images
    from . import mishaps as mishaps
    from . import offer_view as offer_view
    from . import offers as offers
    from . import pieces as pieces
    from . import plan as plan
    from . import policies as policies
    from . import pool as pool
    from . import prices as prices
    from . import provision as provision
    from . import quotas as quotas
    from . import records as records
    from . import refusals as refusals
    from . import registry as registry
    from . import request as request
    from . import results as results
    from . import resume as resume
    from . import roles as roles
    from . import runner as runner
    from . import scalars as scalars
    from . import session as session
    from . import signatures as signatures
    from . import sourcetree as sourcetree
    from . import storage as storage
    from . import sweep as sweep
    from . import sweep_end as sweep_end
    from . import sweep_plan as sweep_plan
    from . import sweep_record as sweep_record
    from . import sweep_tasks as sweep_tasks
    from . import sweep_view as sweep_view
    from . import sweeps as sweeps
    from . import tags as tags
    from . import teardown as teardown
    from . import terminal as terminal
    from . import text as text
    from . import trainer_config as trainer_config
    from . import transfer as transfer
    from . import userdata as userdata
    from . import watch as watch
    from . import yaml_edit as yaml_edit
    from . import yaml_tree as yaml_tree


def __getattr__(name: str) -> Any:
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
