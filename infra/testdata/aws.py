"""Runs lines of the AWS command line, one on each line of the input, against moto
in the same process. What a line may say is checked by botocore's model of the
service, which the real one uses too: the operation, its parameters, their types.
A line that begins with ! has to fail. BUCKET is the first bucket that was made."""

import shlex
import sys

import boto3
from botocore import xform_name
from moto import mock_aws


def value(shape, text):
    """text as the type that the service's model says."""
    kind = shape.type_name
    if kind == "structure":
        fields = dict(part.split("=", 1) for part in text.split(","))
        return {name: value(shape.members[name], v) for name, v in fields.items()}
    if kind == "list":
        return [value(shape.member, part) for part in text.split()]
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind in ("integer", "long"):
        return int(text)
    if text.startswith("file://"):
        text = open(text.removeprefix("file://")).read()
    if kind == "blob":
        return open(text, "rb").read()
    return text


def run(line):
    if "BUCKET" in line:
        line = line.replace("BUCKET", boto3.client("s3").list_buckets()["Buckets"][0]["Name"])
    words = shlex.split(line)
    client = boto3.client({"s3api": "s3"}.get(words[1], words[1]), region_name="us-east-1")
    method = words[2].replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    parameters, at = {}, 3
    while at < len(words):
        flag = words[at].removeprefix("--")
        more = []
        while at + 1 < len(words) and not words[at + 1].startswith("--"):
            at += 1
            more.append(words[at])
        on = not flag.startswith("no-")
        name, shape = members[flag if flag in members else flag.removeprefix("no-")]
        parameters[name] = value(shape, " ".join(more)) if more else on
        at += 1
    getattr(client, method)(**parameters)


with mock_aws():
    for line in sys.stdin:
        wrong, failed = line.startswith("! "), None
        try:
            run(line.removeprefix("! "))
        except Exception as e:
            failed = f"{type(e).__name__}: {e}"
        if wrong != (failed is not None):
            sys.exit(f"{line.strip()}: {failed or 'it was done'}")
