import sys, json, time
sys.path.insert(0,'/tmp/bench-tree'); sys.path.insert(0,'/tmp/bench-tree/src')
import numpy as np, torch, math
torch.set_num_threads(1)
import germ
from germ.metric import MetricFit
from germ.gradients import losses_and_grad
from germ.calibrate import calibrate
from germ.curvature import Curvature
from germ.samplers import LeimkuhlerMatthews
from benchmarks.nets import NETS
from benchmarks.reference import Dense, mean_metric

class Rotated:
    def __init__(self, bases, scale): self.bases, self.scale = bases, scale; self.root=scale.sqrt()
    def into(self, v):   # R^T v
        out=[];off=0
        for (ql,qr,shape) in self.bases:
            n=shape[0]*shape[1]; x=v[...,off:off+n].unflatten(-1,shape); off+=n
            if ql is not None: x=ql.T@x
            if qr is not None: x=x@qr
            out.append(x.flatten(-2))
        return torch.cat(out,-1)
    def back(self, v):
        out=[];off=0
        for (ql,qr,shape) in self.bases:
            n=shape[0]*shape[1]; x=v[...,off:off+n].unflatten(-1,shape); off+=n
            if ql is not None: x=ql@x
            if qr is not None: x=x@qr.T
            out.append(x.flatten(-2))
        return torch.cat(out,-1)
    def apply(self,v): return self.back(self.scale*self.into(v))
    def sqrt(self,v): return self.back(self.root*v)
    def identity(self): return {'name':'rotated'}

class Fit(MetricFit):
    bases=None
    def R(self,scale): return Rotated(self.bases,scale)
    def _displaced(self,scale,noise): return self.R(scale**2).sqrt(noise)
    def diff(self,scale,index):
        p=self.posterior; xi=self._noise(index); b=self._batch(index)
        mv=self._displaced(scale,xi)
        a=losses_and_grad(p,(p.anchor+mv)[None],b)[1][0]; c=losses_and_grad(p,(p.anchor-mv)[None],b)[1][0]
        self.num_gradients+=2
        return p.nbeta*(a-c)/2+p.localization*mv
    def _pair(self,scale,index):
        y=self.diff(scale,index); self.saved.append(y)
        return self.R(scale).into(y).square()
    def _energy(self,scale,index):
        p=self.posterior; xi=self._noise(index); b=self._batch(index); mv=self._displaced(scale,xi); f=0.
        with torch.no_grad():
            base=p.example_losses(p.anchor,b)
            for s in (1,-1): f+=.5*p.nbeta*float((p.example_losses(p.anchor+s*mv,b)-base).double().mean())
        self.num_gradients+=1
        return f+.5*p.localization*float(mv.square().sum())
    def set_identity(self):
        self.bases=[(None,None,(s.shape[0],s.numel()//s.shape[0]) if s.dim()>1 else (1,s.numel())) for s in self.posterior.model.parameters()]
    def fit(self,rounds,pairs,tick=None):
        self.saved=[]; self.set_identity()
        curv=torch.full_like(self.posterior.anchor,self._isotropic())
        for r in range(rounds):
            tot=torch.zeros_like(curv); sc=self._shrink(curv,r).rsqrt()
            for k in range(pairs): tot+=self._pair(sc,r*pairs+k)
            if r<ROT:
                # new bases from all differences of this round, then restart curvature in it
                new=[];off=0
                for (ql,qr,shape) in self.bases:
                    n=shape[0]*shape[1]
                    Y=torch.stack([y[off:off+n].view(shape) for y in self.saved[-pairs*(r+1):]]).double(); off+=n
                    L=(Y@Y.transpose(1,2)).sum(0); Rr=(Y.transpose(1,2)@Y).sum(0)
                    new.append((torch.linalg.eigh(L)[1].float() if shape[0]>1 else None, torch.linalg.eigh(Rr)[1].float(), shape))
                self.bases=new
                rot=self.R(curv); tot=torch.stack([rot.into(y).square() for y in self.saved[-pairs:]]).sum(0)
                if r==0: curv=torch.full_like(curv,float(curv.mean()))
            m=tot/pairs
            m=m.clamp(min=max(self.posterior.localization,1e-6*float(m.max()),1e-12))
            w=1.0 if r==0 else .5
            curv=torch.exp((1-w)*curv.log()+w*m.log())
        return self._shrink(curv,rounds)
ROT=1
def build(post,B,seed,steps=200,rounds=6,pairs=4):
    f=Fit(post,B,seed); st=f.fit(rounds,pairs); pre=Rotated(f.bases,1/st)
    cur=Curvature(post,B,seed); place=post.anchor+pre.sqrt(f._noise(-999))
    lam=cur.largest(pre,8,lambda *a:None,place)
    eps=min(.1,.5/lam)
    for k in range(6):
        end=f.pilot(LeimkuhlerMatthews(eps/4**k,pre),steps)
        if end is not None: place=end;break
    lam=max(lam,cur.largest(pre,8,lambda *a:None,place))
    # noise
    tot=0
    for pair in range(4):
        h=[f._difference(place[None],f._batch(-2000-2*pair-s))[0] for s in (0,1)]
        z=pre.into(.5**.5*(h[0]-h[1])); tot+=float((post.nbeta**2*z.square()*pre.scale).mean())
    noise=tot/4
    eps=max(.01,min(.5,1/lam,.04/noise if noise>0 else 9))
    return pre,eps,lam,noise
def show(tag,s,exact,post):
    e=germ.llc(s); print(f"  {tag:44s} {e.value:7.2f} ± {e.standard_error:.2f} ({e.value/exact-1:+.1%}) vir {e.virial:.3f} R̂ {e.rhat:.2f} ess {e.ess:.0f}",flush=True)
if __name__=='__main__':
    ref=json.load(open('/tmp/bench-tree/benchmarks/results/lessons.json'))['nets']
    for net,r in zip(NETS,ref):
        exact=r['reference']['value']; post,red=net.posteriors()
        print(net.name,round(exact,2),flush=True)
        kw=dict(chains=4,draws=600,warmup=300,batch_size=2048,seed=1,throw=False)
        cal=calibrate(post,batch_size=2048,seed=0,num_steps=900)
        show(f"diag eps {cal.sampler.step_size:.3f}",germ.sample(post,cal.sampler,**kw),exact,post)
        pre,eps,lam,noise=build(post,2048,0)
        show(f"rot eps {eps:.3f} lam {lam:.2f} noise {noise:.3f}",germ.sample(post,LeimkuhlerMatthews(eps,pre),**kw),exact,post)
        # full batch on the reduced data: the metric alone
        kwf={**kw,'batch_size':10**9}
        show(f"FULL diag eps .4",germ.sample(red,LeimkuhlerMatthews(min(.4,.9/1),cal.sampler.preconditioner),**kwf),exact,post)
        show(f"FULL rot eps .4",germ.sample(red,LeimkuhlerMatthews(.4,pre),**kwf),exact,post)
