"""The classes above torch's layers of one family, which torch gives no public name.

Networks are searched for *any* batch normalisation, convolution or dropout, users' own ones included; ``isinstance``
with a list of the public classes would miss those. This is the only module that names what torch keeps private.
"""

# pyright: reportPrivateUsage=false
from torch.nn.modules import batchnorm, conv, dropout, pooling

AvgPoolNd = pooling._AvgPoolNd
BatchNorm = batchnorm._BatchNorm
ConvNd = conv._ConvNd
DropoutNd = dropout._DropoutNd
MaxPoolNd = pooling._MaxPoolNd
NormBase = batchnorm._NormBase
