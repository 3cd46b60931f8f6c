"""GeoChat's tasks, in its own words, and its box language."""

from geochat.box_codecs import GeoChatBoxCodec
from geochat.prompts import (
    CaptionPrompt,
    ChatPrompt,
    DetectionPrompt,
    GroundingPrompt,
    IdentifyPrompt,
    MultipleChoicePrompt,
    ReferPrompt,
    RegionCaptionPrompt,
    SceneClassificationPrompt,
    VQAPrompt,
)

box_codec = dict(type=GeoChatBoxCodec, padding='centre')  # as its pictures are padded

task_prompts = dict(
    scene=dict(type=SceneClassificationPrompt),
    vqa=dict(type=VQAPrompt),
    refer=dict(type=ReferPrompt),
    identify=dict(type=IdentifyPrompt),
    grounding=dict(type=GroundingPrompt),
    region_caption=dict(type=RegionCaptionPrompt),
    caption=dict(type=CaptionPrompt),
    detection=dict(type=DetectionPrompt),
    multiple_choice=dict(type=MultipleChoicePrompt),
    chat=dict(type=ChatPrompt),
)
