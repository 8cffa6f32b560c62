"""Losses for self-supervised pretraining.

The contrastive ones are exact in O(N D) memory: no N x N matrix of similarities is stored where it would be large.
"""

from sslfast.losses._class_inputs import ClassificationOutput
from sslfast.losses.adversarial import AdversarialPerturbation
from sslfast.losses.alignment_uniformity import (
    AlignmentLoss,
    HypersphereLoss,
    UniformityLoss,
    alignment_loss,
    hypersphere_loss,
    uniformity_loss,
)
from sslfast.losses.barlow_twins import BarlowTwinsLoss, barlow_twins_loss
from sslfast.losses.cached_backward import cached_backward
from sslfast.losses.clip import CLIPLoss, clip_loss
from sslfast.losses.contrastive import ContrastiveLoss, contrastive_loss
from sslfast.losses.cross_batch_memory import CrossBatchMemory
from sslfast.losses.dcl import DCLLoss, DCLWLoss, dcl_loss, dclw_loss
from sslfast.losses.dino import DINOLoss, dino_loss
from sslfast.losses.feature_matching import FeatureMatchingLoss, feature_matching_loss
from sslfast.losses.gan import (
    BiGANLoss,
    GANDiscriminatorLoss,
    GANGeneratorLoss,
    bigan_loss,
    gan_discriminator_loss,
    gan_generator_loss,
)
from sslfast.losses.gan_penalty import GradientPenalty, R1Penalty, gradient_penalty, r1_penalty
from sslfast.losses.gumbel_quantizer import GumbelVectorQuantizer, QuantizerOutput, gumbel_quantize
from sslfast.losses.hubert import HubertLoss, hubert_loss
from sslfast.losses.ibot import IBOTPatchLoss, ibot_patch_loss
from sslfast.losses.info_nce import InfoNCELoss, info_nce_loss
from sslfast.losses.item_sampling import ItemSampling, item_sampling
from sslfast.losses.koleo import KoLeoLoss, koleo_loss
from sslfast.losses.linear_cross_entropy import LinearCrossEntropyLoss, linear_cross_entropy
from sslfast.losses.masked_code import MaskedCodeLoss, masked_code_loss
from sslfast.losses.masked_feature import MaskedFeatureLoss, masked_feature_loss
from sslfast.losses.masked_item import MaskedItemLoss, masked_item_loss
from sslfast.losses.masked_lm import MaskedLMLoss, masked_lm_loss
from sslfast.losses.masked_patch import MaskedPatchLoss, masked_patch_loss
from sslfast.losses.matryoshka import MatryoshkaLoss
from sslfast.losses.memory_bank import MemoryBank
from sslfast.losses.mises_fisher_weights import negative_mises_fisher_weights
from sslfast.losses.msn import MSNLoss, msn_loss
from sslfast.losses.multi_positive_nt_xent import MultiPositiveNTXentLoss, multi_positive_nt_xent_loss
from sslfast.losses.negative_cosine_similarity import NegativeCosineSimilarity, negative_cosine_similarity
from sslfast.losses.nn_memory_bank import NNMemoryBank
from sslfast.losses.nt_xent import NTXentLoss, nt_xent_loss
from sslfast.losses.replaced_token import ReplacedTokenLoss, replaced_token_loss
from sslfast.losses.siglip import SigLIPLoss, siglip_loss
from sslfast.losses.supcon import SupConLoss, supcon_loss
from sslfast.losses.swav import SwAVLoss, sinkhorn_knopp, swav_loss
from sslfast.losses.teacher import cosine_schedule, update_teacher
from sslfast.losses.triplet import TripletLoss, triplet_loss
from sslfast.losses.vicreg import VICRegLoss, vicreg_loss
from sslfast.losses.vocab_parallel import VocabParallelCrossEntropyLoss, vocab_parallel_cross_entropy
from sslfast.losses.wav2vec2 import Wav2Vec2ContrastiveLoss, diversity_loss, wav2vec2_contrastive_loss

__all__ = [
    "AdversarialPerturbation",
    "AlignmentLoss",
    "BarlowTwinsLoss",
    "BiGANLoss",
    "CLIPLoss",
    "ClassificationOutput",
    "ContrastiveLoss",
    "CrossBatchMemory",
    "DCLLoss",
    "DCLWLoss",
    "DINOLoss",
    "FeatureMatchingLoss",
    "GANDiscriminatorLoss",
    "GANGeneratorLoss",
    "GradientPenalty",
    "GumbelVectorQuantizer",
    "HubertLoss",
    "HypersphereLoss",
    "IBOTPatchLoss",
    "InfoNCELoss",
    "ItemSampling",
    "KoLeoLoss",
    "LinearCrossEntropyLoss",
    "MSNLoss",
    "MaskedCodeLoss",
    "MaskedFeatureLoss",
    "MaskedItemLoss",
    "MaskedLMLoss",
    "MaskedPatchLoss",
    "MatryoshkaLoss",
    "MemoryBank",
    "MultiPositiveNTXentLoss",
    "NNMemoryBank",
    "NTXentLoss",
    "NegativeCosineSimilarity",
    "QuantizerOutput",
    "R1Penalty",
    "ReplacedTokenLoss",
    "SigLIPLoss",
    "SupConLoss",
    "SwAVLoss",
    "TripletLoss",
    "UniformityLoss",
    "VICRegLoss",
    "VocabParallelCrossEntropyLoss",
    "Wav2Vec2ContrastiveLoss",
    "alignment_loss",
    "barlow_twins_loss",
    "bigan_loss",
    "cached_backward",
    "clip_loss",
    "contrastive_loss",
    "cosine_schedule",
    "dcl_loss",
    "dclw_loss",
    "dino_loss",
    "diversity_loss",
    "feature_matching_loss",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "gradient_penalty",
    "gumbel_quantize",
    "hubert_loss",
    "hypersphere_loss",
    "ibot_patch_loss",
    "info_nce_loss",
    "item_sampling",
    "koleo_loss",
    "linear_cross_entropy",
    "masked_code_loss",
    "masked_feature_loss",
    "masked_item_loss",
    "masked_lm_loss",
    "masked_patch_loss",
    "msn_loss",
    "multi_positive_nt_xent_loss",
    "negative_cosine_similarity",
    "negative_mises_fisher_weights",
    "nt_xent_loss",
    "r1_penalty",
    "replaced_token_loss",
    "siglip_loss",
    "sinkhorn_knopp",
    "supcon_loss",
    "swav_loss",
    "triplet_loss",
    "uniformity_loss",
    "update_teacher",
    "vicreg_loss",
    "vocab_parallel_cross_entropy",
    "wav2vec2_contrastive_loss",
]
