"""A machine image of one's own: made once, by a builder that ends, and jobs that start from it pull nothing."""

from __future__ import annotations

from .conftest import EXAMPLE, User, gone

BAKE = ("bake", "--instance", "c7i.4xlarge", "--source", str(EXAMPLE))
PULLED = "Login Succeeded"
"""What Docker says before it pulls from ECR."""


def boot_log(user: User, job: str) -> str:
    """What the boot of an ended job did."""
    found = user.aws.s3.get_object(Bucket=user.aws.bucket, Key=f"jobs/{job}/logs/boot.log")
    return found["Body"].read().decode()


def test_jobs_start_from_the_image_that_was_baked(user: User) -> None:
    ec2 = user.aws.ec2
    ami = user.run(*BAKE).stdout.strip()
    assert [one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"]] == [ami]
    groups = ec2.describe_instances(Filters=[{"Name": "tag-key", "Values": ["solver:builder"]}])["Reservations"]
    ((builder,),) = (group["Instances"] for group in groups)
    assert builder["State"]["Name"] in ("shutting-down", "terminated")
    assert PULLED in ec2.get_console_output(InstanceId=builder["InstanceId"])["Output"]
    again = user.run(*BAKE)
    assert (again.stdout.strip(), "already baked" in again.stderr) == (ami, True)

    job, _ = user.launch(user.config("fast.yaml"), "~/models/baked")
    user.run("wait", job)
    assert ec2.describe_instances(InstanceIds=[job])["Reservations"][0]["Instances"][0]["ImageId"] == ami
    log = boot_log(user, job)
    assert "pulling image" in log
    assert PULLED not in log
    assert log.count("Z boot\n") == 1  # nothing of the builder's is left
    user.until(job, gone)
    assert "nothing is left over" in user.run("gc", "--yes").stderr
