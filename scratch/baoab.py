from kron import *
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from germ.samplers import Diagonal
import germ.setup as gs
class St(NamedTuple):
    position: Any
    velocity: Any
@dataclass(frozen=True)
class BAOAB:
    state_type: ClassVar[type]=St
    step_size: float
    preconditioner: Any=None
    friction: float=1.0
    def init(self,position): return St(position,torch.zeros_like(position))
    def step(self,state,grad,noise):
        h=self.step_size**.5; c=math.exp(-self.friction*h) if self.friction<1e3 else 0.
        u=state.velocity-h*self.preconditioner.apply(grad)
        x=state.position+.5*h*u
        u=c*u+math.sqrt(1-c*c)*self.preconditioner.sqrt(noise)
        return St(x+.5*h*u,u)
def show(tag,s,exact,post):
    try: e=germ.llc(s,drop_failed=True); print(f"  {tag:44s} {e.value:7.2f} ± {e.standard_error:.2f} ({e.value/exact-1:+.1%}) vir {e.virial:.3f}±{e.virial_error:.3f} R̂ {e.rhat:.2f} ess {e.ess:.0f}",flush=True)
    except Exception as x: print(f"  {tag:44s} failed {s.attrs['statuses']}",flush=True)
if __name__=='__main__':
    ref=json.load(open('/tmp/bench-tree/benchmarks/results/lessons.json'))['nets']
    for net,r in zip(NETS,ref):
        exact=r['reference']['value']; post,red=net.posteriors()
        print(net.name,round(exact,2),flush=True)
        kw=dict(chains=4,draws=600,warmup=300,batch_size=10**9,seed=1,throw=False)
        cal=calibrate(red,batch_size=10**9,seed=0,num_steps=900); D=cal.sampler.preconditioner
        pre,eps,lam,noise=build(red,10**9,0)
        e0=cal.sampler.step_size
        for f in (2.,.7):
            show(f"diag eps {e0:.2f} friction {f}",germ.sample(red,BAOAB(e0,D,f),**kw),exact,red)
            show(f"rot eps {eps:.3f} friction {f}",germ.sample(red,BAOAB(eps,pre,f),**kw),exact,red)
        show(f"rot eps {2*eps:.3f} friction .7",germ.sample(red,BAOAB(2*eps,pre,.7),**kw),exact,red)
